"""
Verification and repair of hourly rollups against the usage records.

One statement reads the sums of both, another one the histograms of both, so that a request that is settled meanwhile is
in both or in neither.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, tzinfo

from django.db import connection, transaction
from django.db.models import Min

from keys.domain.latency_buckets import bounds_of
from keys.models import HourlyLatency, HourlyUsage, UsageRecord
from keys.usage.rollup_figures import QUARTER, Figures, RollupInterval, histograms, quarters_of, sums
from keys.usage.rollup_statements import DIMENSIONS, MEASURES, Bucket, DimensionValues
from lib.periods import begin_of_hour


@dataclass(frozen=True, kw_only=True, slots=True)
class Mismatch:
    """A measure for which records and rollups disagree."""

    dimensions: DimensionValues
    measure: str
    records: int
    rollups: int


def iter_intervals(begin: datetime, end: datetime) -> Iterator[RollupInterval]:
    """Yield the intervals with records or rollups, from `begin` to the one that contains `end`."""
    while (moment := next_moment(begin, end)) is not None:
        interval = interval_of(moment)
        yield interval
        begin = interval.end


def next_moment(begin: datetime, end: datetime) -> datetime | None:
    """Return when the first settled record or rollup of an interval begins. Two queries."""
    settled = UsageRecord.objects.filter(created_at__gte=begin, created_at__lt=end, settled_at__isnull=False)
    rollups = HourlyUsage.objects.filter(hour__gte=begin, hour__lt=end)
    found = [settled.aggregate(first=Min("created_at"))["first"], rollups.aggregate(first=Min("hour"))["first"]]
    return min((moment for moment in found if moment is not None), default=None)


def interval_of(moment: datetime, in_zone: tzinfo | None = None) -> RollupInterval:
    """Return the interval that contains a moment, in the time zone in effect or in another one."""
    hour = begin_of_hour(moment, in_zone)
    quarters = [quarter for quarter in quarters_of(hour) if begin_of_hour(quarter, in_zone) == hour]
    return RollupInterval(hour=hour, begin=quarters[0], end=quarters[-1] + QUARTER)


def mismatches(interval: RollupInterval) -> list[Mismatch]:
    """Return where records and rollups disagree. Two queries."""
    return [*_compare(*sums(interval)), *_compare(*histograms(interval))]


def _compare(of_records: Figures, of_rollups: Figures) -> Iterator[Mismatch]:
    for dimensions in sorted({*of_records, *of_rollups}, key=repr):
        recorded, rolled_up = of_records.get(dimensions, {}), of_rollups.get(dimensions, {})
        for name in sorted({*recorded, *rolled_up}, key=_position):
            if recorded.get(name, 0) != rolled_up.get(name, 0):
                yield Mismatch(
                    dimensions=dimensions,
                    measure=_title(name),
                    records=recorded.get(name, 0),
                    rollups=rolled_up.get(name, 0),
                )


def _position(name: str | Bucket) -> tuple[int, str, int]:
    return (MEASURES.index(name), "", 0) if isinstance(name, str) else (len(MEASURES), *name)


def _title(name: str | Bucket) -> str:
    if isinstance(name, str):
        return name
    first, last = bounds_of(name[1])
    return f"{name[0]} {first}-{last}"


def repair(interval: RollupInterval) -> None:
    """Rewrite the rollups of an interval from its records. Settlements wait for the duration."""
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute(f'LOCK TABLE "{HourlyUsage._meta.db_table}" IN SHARE ROW EXCLUSIVE MODE')
        of_records, of_rollups = sums(interval)
        buckets, _ = histograms(interval)
        HourlyUsage.objects.filter(hour__in={dimensions[1] for dimensions in of_rollups}).delete()
        rollups = HourlyUsage.objects.bulk_create(
            HourlyUsage(**dict(zip(DIMENSIONS, dimensions, strict=True)), **measures)
            for dimensions, measures in of_records.items()
        )
        HourlyLatency.objects.bulk_create(
            HourlyLatency(hourly_usage=rollup, measure=measure, bucket=bucket, requests=requests)
            for rollup, dimensions in zip(rollups, of_records, strict=True)
            for (measure, bucket), requests in buckets.get(dimensions, {}).items()
        )
