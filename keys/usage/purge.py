"""
The purge of usage records and hours, in batches: each is a transaction, so a purge that ends early goes on later.

The beginning of the retained records is stored before the first one is deleted: from then on no verification compares
them, and no page links them. Reports read rollups and do not change.
"""

import logging
import time
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from keys.models import BuiltPeriod, HourlyLatency, HourlyUsage, RetainedUsage, UsageRecord
from keys.usage import coarse_statements, record_table, retention
from keys.usage.retention import settled_before
from lib import periods

logger = logging.getLogger(__name__)

BATCH = 1_000
SLICE_S = 0.2
LOCK = 0x7075726765
"""Advisory lock on PostgreSQL: one process deletes at a time."""
REST = timedelta(hours=1)
"""The time until this process looks for more, once there is nothing to purge."""
NOON = timedelta(hours=12)
_next_at: datetime | None = None


def purge_slice() -> None:
    """Purge for a slice of time, as the settings say. Runs in every worker."""
    global _next_at
    if not settings.RETAIN_RECORDS_DAYS or (_next_at is not None and timezone.now() < _next_at):
        return
    ends_at = time.monotonic() + SLICE_S
    while time.monotonic() < ends_at:
        if not purge_step():
            _next_at = timezone.now() + REST
            return


def purge_step(batch: int = BATCH) -> bool:
    """Delete a batch of records, drop a partition, or merge the hours of a day. Return whether there may be more."""
    limit = retention.records_limit()
    if limit is not None:
        return _purge_records(limit, batch)
    for begin, end in retention.days_to_merge():
        return merge_day(begin, end)
    return False


def _purge_records(limit: datetime, batch: int) -> bool:
    _store(records_begin=limit)
    if record_table.read_form(connection) and (dropped := record_table.drop_before(limit)):
        logger.info("Usage records: %s dropped", dropped)
        return True
    with transaction.atomic():
        if not _is_alone():
            return False
        oldest = settled_before(limit).order_by("created_at").values_list("pk", "created_at")[:batch]
        found = list(oldest)
        if found:  # with the times, by which a partitioned table finds the partitions
            within = settled_before(limit).filter(created_at__gte=found[0][1], created_at__lte=found[-1][1])
            within.filter(pk__in=[pk for pk, _ in found]).delete()
    return bool(found)


def _store(**begins: datetime) -> None:
    row, _ = RetainedUsage.objects.get_or_create(pk=1)
    for name, begin in begins.items():
        before = getattr(row, name)
        if before is None or before < begin:
            RetainedUsage.objects.filter(pk=1).update(**{name: begin})


def _is_alone() -> bool:
    if connection.vendor != "postgresql":
        return True
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK])
        return bool(cursor.fetchone()[0])


def merge_day(begin: datetime, end: datetime) -> bool:
    """Replace the hours of a day with one. Return whether that was possible: not while one of them is written."""
    with transaction.atomic():
        if not _is_alone():
            return False
        hours = HourlyUsage.objects.filter(hour__gte=begin, hour__lt=end)
        ids = list(hours.order_by("pk").select_for_update(nowait=True).values_list("pk", flat=True))
        # After the hours, as those who write them. One who added an hour meanwhile waits, and then deletes this mark.
        mark = BuiltPeriod.objects.filter(tier=BuiltPeriod.Tier.DAY, begin=begin, is_complete=True).select_for_update()
        if mark.first() is None:
            return False
        if connection.vendor == "postgresql":
            hours = HourlyUsage.objects.filter(pk__in=ids)
        HourlyLatency.objects.filter(hourly_usage__in=hours).delete()
        hours.delete()
        coarse_statements.merge_hours(begin, end, periods.begin_of_hour(begin + NOON))
        _store(hours_begin=end)
    return True


def preview() -> dict[str, object]:
    """Return what a purge would do now, without a change."""
    limit = retention.records_limit()
    days = list(retention.days_to_merge())
    return {
        "records_before": limit,
        "records": settled_before(limit).count() if limit else 0,
        "open_records": UsageRecord.objects.filter(created_at__lt=limit, settled_at=None).count() if limit else 0,
        "partitions": record_table.partitions_before(limit) if limit and record_table.read_form(connection) else [],
        "days_to_merge": len(days),
        "hours_before": days[-1][1] if days else None,
    }
