"""
The builder of daily and monthly rollups: from hours and days that have ended, one period at a time.

All workers run it, and each period is built by one of them. It reads only hours, so no settlement waits for it.
"""

import logging
import secrets
import time
from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db import IntegrityError, connection, transaction
from django.db.models import Min
from django.utils import timezone

from keys.models import BuiltPeriod, HourlyUsage, Rerating
from keys.usage import coarse_statements, reporting_zone
from keys.usage.built_periods import BUILT_AFTER, LOCK
from keys.usage.coarse_statements import TIERS
from lib import periods

logger = logging.getLogger(__name__)

Tier = BuiltPeriod.Tier
Period = tuple[str, datetime, datetime]
"""A tier, and the bounds of the period."""

SLICE_S = 0.2
ABANDONED_AFTER = timedelta(minutes=10)
"""A build that has not ended by then is begun again by another process."""


def build_slice() -> None:
    """Build for a slice of time. Runs every minute in every worker."""
    ends_at = time.monotonic() + SLICE_S
    for period in missing():
        build(period)
        if time.monotonic() >= ends_at:
            return


def build_all() -> int:
    """Build all periods that have ended. Return the number of those that were built."""
    return sum(build(period) for period in missing())


def missing() -> Iterator[Period]:
    """Yield the periods that have ended and are not built: the days of each month, then the month."""
    first = HourlyUsage.objects.aggregate(first=Min("hour"))["first"]
    if first is None or _is_changing():
        return
    end = timezone.now() - BUILT_AFTER
    begin = periods.begin_of("month", first)
    built = set(BuiltPeriod.objects.filter(is_complete=True, begin__gte=begin).values_list("tier", "begin"))
    while (last := periods.end_of("day", begin) or end) <= end:
        if (Tier.DAY, begin) not in built:
            yield Tier.DAY, begin, last
        month, month_end = periods.bounds_of("month", begin)
        if last >= month_end and (Tier.MONTH, month) not in built:
            yield Tier.MONTH, month, month_end
        begin = last


def _is_changing() -> bool:
    """Return whether hours are being changed: by a new reporting time zone, or by a re-rating."""
    zone = reporting_zone.current()
    if zone is not None and (zone.is_changing or zone.name != str(periods.zone())):
        return True
    return Rerating.objects.filter(is_writing=1).exists()


def build(period: Period) -> bool:
    """Build a period. Return whether it is complete: not if another process builds it, or an hour changes meanwhile."""
    tier, begin, end = period
    if tier == Tier.MONTH and not _has_all_days(begin, end):
        return False
    token = _begin(period)
    if token is None:
        return False
    if connection.vendor == "postgresql":
        _wait_for_writers()
    try:
        with transaction.atomic():
            is_built = _build(period, token)
            transaction.set_rollback(not is_built)
    except IntegrityError:  # another process has taken it over
        return False
    if not is_built:
        BuiltPeriod.objects.filter(tier=tier, begin=begin, token=token).delete()
    return is_built


def _begin(period: Period) -> str | None:
    """Mark a period as being built. Return the token of the build; None if another process builds it."""
    tier, begin, end = period
    now, token = timezone.now(), secrets.token_hex(8)
    with transaction.atomic():
        zone = reporting_zone.ROWS.select_for_update().first()  # a change waits, and then deletes the mark
        if zone is not None and (zone.is_changing or zone.name != str(periods.zone())):
            return None
        mark = {"end": end, "is_complete": False, "token": token, "started_at": now}
        row, is_new = BuiltPeriod.objects.get_or_create(tier=tier, begin=begin, defaults=mark)
        if not is_new:
            abandoned = BuiltPeriod.objects.filter(pk=row.pk, is_complete=False)
            if not abandoned.filter(started_at__lt=now - ABANDONED_AFTER).update(**mark):
                return None
    return token


def _wait_for_writers() -> None:
    """Wait for the transactions that may not have seen the mark. Later ones delete it."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])


def _build(period: Period, token: str) -> bool:
    tier, begin, end = period
    if tier == Tier.MONTH and not _has_all_days(begin, end):
        return False
    coarse_statements.build(TIERS[tier], begin, end)
    mine = BuiltPeriod.objects.filter(tier=tier, begin=begin, token=token, is_complete=False)
    return bool(mine.update(is_complete=True))


def _has_all_days(begin: datetime, end: datetime) -> bool:
    """Return whether complete days follow each other from the beginning of a month to its end."""
    days = BuiltPeriod.objects.filter(tier=Tier.DAY, is_complete=True, begin__gte=begin, begin__lt=end)
    for day_begin, day_end in days.order_by("begin").values_list("begin", "end"):
        if day_begin != begin:
            return False
        begin = day_end
    return begin == end
