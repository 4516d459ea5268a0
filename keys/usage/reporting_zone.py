"""
The reporting time zone in effect: kept in the database, and followed by all processes.

A changed REPORTING_TIME_ZONE takes effect when no running process has the old one any more: processes confirm the zone
that they have in their settings. Until then, and for as long as hosts differ, all follow the zone in effect, so that
budgets reset once and hours do not overlap.
"""

import logging
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfoNotFoundError

from django.conf import settings
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from keys.models import ReportingZone
from keys.models.reporting_zone import ONLY_ROW
from lib import periods
from lib.periods import FOREVER

logger = logging.getLogger(__name__)

CONFIRM_INTERVAL = timedelta(seconds=4)
SILENCE = timedelta(seconds=20)
"""A zone that was not confirmed for this time may be changed."""
GRACE = timedelta(seconds=15)
"""All processes follow a change within this time. One that does so later has the change applied again."""
ROWS = ReportingZone.objects.filter(pk=ONLY_ROW)


class _Followed:
    """What this process knows of the zone in effect."""

    def __init__(self) -> None:
        self.name: str | None = None
        self.is_changing = False
        self.was_silent = False
        self.has_warned = False


_followed = _Followed()


def reset() -> None:
    """Forget the zone in effect, as a new process does."""
    global _followed
    _followed = _Followed()
    periods.follow(None)


def start() -> None:
    """Follow the zone in effect, before the first request."""
    _followed.was_silent = True  # a stopped gateway has released its zone
    follow()


def follow() -> None:
    """Follow the zone in effect, confirm it, or change it if no process has it any more. Runs every few seconds."""
    own = settings.TIME_ZONE
    now: Any = Now()
    new = ReportingZone(name=own, changed_at=timezone.now(), confirmed_at=timezone.now())
    row = ROWS.first() or ReportingZone.objects.get_or_create(pk=ONLY_ROW, defaults=_values(new))[0]
    if row.name == own:
        ROWS.filter(Q(confirmed_at=None) | Q(confirmed_at__lt=now - CONFIRM_INTERVAL), name=own).update(
            confirmed_at=now
        )
        _followed.was_silent = False
    else:
        row = _change(row, to=own)
    _follow(row)


def follow_only() -> None:
    """Follow the zone in effect, without changing it: for commands beside the gateway."""
    if row := ROWS.first():
        _follow(row)


def release() -> None:
    """Let another process change the zone, unless further processes confirm it. Called at shutdown."""
    ROWS.filter(name=settings.TIME_ZONE).update(confirmed_at=None)


def is_changing() -> bool:
    """Return whether a change was being applied when this process last looked."""
    return _followed.is_changing


def current() -> ReportingZone | None:
    """Return the zone in effect; None before any process has started."""
    return ROWS.first()


def _values(row: ReportingZone) -> dict[str, Any]:
    return {"name": row.name, "changed_at": row.changed_at, "confirmed_at": row.confirmed_at}


def _change(row: ReportingZone, *, to: str) -> ReportingZone:
    """Put another zone into effect if the current one is silent. Return the row that is in effect then."""
    now: Any = Now()
    silent = ROWS.filter(Q(confirmed_at=None) | Q(confirmed_at__lt=now - SILENCE), name=row.name)
    if not silent.exists():
        _followed.was_silent = False
        if not _followed.has_warned:
            _followed.has_warned = True
            logger.warning("REPORTING_TIME_ZONE is %s, but %s is in effect: other processes have it", to, row.name)
        return row
    if not _followed.was_silent:
        _followed.was_silent = True  # a worker that was replaced: the others confirm it until the next run
        return row
    previous = "" if row.is_changing else row.name
    changed = silent.update(
        name=to, previous=previous, changed_at=now, confirmed_at=now, budgets_after=0, rollups_before=FOREVER
    )
    if changed:
        logger.warning("The reporting time zone changes from %s to %s", row.name, to)
    return ROWS.get()


def _follow(row: ReportingZone) -> None:
    _followed.is_changing = row.is_changing
    if row.name == _followed.name:
        return
    try:
        periods.follow(row.name)
    except ZoneInfoNotFoundError:
        logger.error("The reporting time zone in effect, %s, is unknown on this host", row.name)
        return
    is_late = ROWS.filter(changed_at__lt=Now() - GRACE)
    if _followed.name is not None and is_late.update(previous="", budgets_after=0, rollups_before=FOREVER):
        logger.warning("This process followed the reporting time zone %s late: the change is applied again", row.name)
        _followed.is_changing = True
    _followed.name = row.name
