"""
Retention of usage: from when on there are usage records and single hours, and what may be purged now.

Nothing is purged before its days and months are built. Purged hours leave one rollup for each combination of dimensions
and day, so that no report of whole days changes. Days and months are kept for ever.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import connection
from django.db.models import Min, QuerySet
from django.utils import timezone

from keys.models import BuiltPeriod, HourlyUsage, RetainedUsage, UsageRecord
from keys.usage import record_table
from lib import periods

ROWS = RetainedUsage.objects.filter(pk=1)
Tier = BuiltPeriod.Tier


def records_begin() -> datetime | None:
    """Return the time before which usage records are purged; None if none were. One query for one row."""
    return ROWS.values_list("records_begin", flat=True).first()


def hours_begin() -> datetime | None:
    """Return the time before which the hours of a day are one; None if all are there. One query for one row."""
    return ROWS.values_list("hours_begin", flat=True).first()


def settled_before(limit: datetime) -> QuerySet[UsageRecord]:
    """Return the records that a purge deletes. Open ones stay until they are settled."""
    return UsageRecord.objects.filter(created_at__lt=limit, settled_at__isnull=False)


def records_limit() -> datetime | None:
    """Return the time before which records may be purged now; None if there are none.

    A midnight. On a partitioned table the first one of a month, so that whole partitions are dropped.
    """
    if not settings.RETAIN_RECORDS_DAYS:
        return None
    limit = periods.begin_of("day", timezone.now() - timedelta(days=settings.RETAIN_RECORDS_DAYS))
    first = settled_before(limit).aggregate(first=Min("created_at"))["first"]
    if first is None:
        return None
    limit = min(limit, _built_from(periods.begin_of("day", first)))
    if record_table.read_form(connection):
        month = limit.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        limit = next_midnight(month) if next_midnight(month) <= limit else next_midnight(_month_before(month))
    return limit if first < limit else None


def next_midnight(moment: datetime) -> datetime:
    """Return the first midnight of the reporting time zone that is not before."""
    begin = periods.begin_of("day", moment)
    return begin if begin == moment else periods.bounds_of("day", moment)[1]


def _month_before(month: datetime) -> datetime:
    return (month - timedelta(days=1)).replace(day=1)


def _built_from(day: datetime) -> datetime:
    """Return the end of the days from this one on that are built."""
    built = BuiltPeriod.objects.filter(tier=Tier.DAY, is_complete=True, begin__gte=day).order_by("begin")
    for begin, end in built.values_list("begin", "end"):
        if begin != day:
            break
        day = end
    return day


def days_to_merge() -> Iterator[tuple[datetime, datetime]]:
    """Yield the days whose hours may be merged now, in order: those of built months without records."""
    if not settings.RETAIN_HOURS_DAYS:
        return
    limit = timezone.now() - timedelta(days=settings.RETAIN_HOURS_DAYS)
    oldest = UsageRecord.objects.aggregate(oldest=Min("created_at"))["oldest"]
    limit = min(limit, records_begin() or limit, oldest or limit)
    hour = HourlyUsage.objects.aggregate(first=Min("hour"))["first"]
    if hour is None or records_begin() is None:
        return
    first = hours_begin() or periods.begin_of("day", hour)
    months = BuiltPeriod.objects.filter(tier=Tier.MONTH, is_complete=True, end__gt=first, end__lte=limit)
    for begin, end in months.order_by("begin").values_list("begin", "end"):
        days = BuiltPeriod.objects.filter(tier=Tier.DAY, is_complete=True, begin__gte=max(begin, first), begin__lt=end)
        yield from days.order_by("begin").values_list("begin", "end")
