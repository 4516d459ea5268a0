"""
Verification and repair of hourly rollups against the usage records.

One statement reads both, so that a request that is settled meanwhile is in both or in neither.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import CharField, Count, DateTimeField, Min, Q, Sum, Value

from keys.models import HourlyUsage, UsageRecord
from keys.models.usage import AMOUNT_COLUMNS, IS_CLIENT_ERROR, ROLLUP_MODEL, TOKEN_COLUMNS, parts_of
from keys.usage.hourly_rollup import DIMENSIONS, MEASURES, DimensionValues
from lib.periods import begin_of_hour

# A clock change by half an hour leaves hours of which only a part exists: they start and end at quarters.
QUARTER = timedelta(minutes=15)

MeasureValues = tuple[int, ...]
NOTHING: MeasureValues = (0,) * len(MEASURES)


@dataclass(frozen=True, kw_only=True, slots=True)
class Mismatch:
    """A measure for which records and rollups disagree."""

    dimensions: DimensionValues
    measure: str
    records: int
    rollups: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RollupInterval:
    """The interval of time whose requests are part of one hour."""

    hour: datetime
    begin: datetime
    end: datetime


def iter_intervals(begin: datetime, end: datetime) -> Iterator[RollupInterval]:
    """Yield the intervals with records or rollups, from `begin` to the one that contains `end`."""
    while (moment := _next_moment(begin, end)) is not None:
        interval = _interval_of(moment)
        yield interval
        begin = interval.end


def _next_moment(begin: datetime, end: datetime) -> datetime | None:
    settled = UsageRecord.objects.filter(created_at__gte=begin, created_at__lt=end, settled_at__isnull=False)
    rollups = HourlyUsage.objects.filter(hour__gte=begin, hour__lt=end)
    found = [settled.aggregate(first=Min("created_at"))["first"], rollups.aggregate(first=Min("hour"))["first"]]
    return min((moment for moment in found if moment is not None), default=None)


def _interval_of(moment: datetime) -> RollupInterval:
    hour = begin_of_hour(moment)
    quarters = [quarter for quarter in _quarters(hour) if begin_of_hour(quarter) == hour]
    return RollupInterval(hour=hour, begin=quarters[0], end=quarters[-1] + QUARTER)


def _quarters(hour: datetime) -> list[datetime]:
    return [hour + i * QUARTER for i in range(4)]


def mismatches(interval: RollupInterval) -> list[Mismatch]:
    """Return where records and rollups disagree. One query."""
    of_records, of_rollups = _read(interval)
    return [
        Mismatch(dimensions=dimensions, measure=measure, records=recorded, rollups=rolled_up)
        for dimensions in sorted({*of_records, *of_rollups}, key=repr)
        for measure, recorded, rolled_up in zip(
            MEASURES, of_records.get(dimensions, NOTHING), of_rollups.get(dimensions, NOTHING), strict=True
        )
        if recorded != rolled_up
    ]


def repair(interval: RollupInterval) -> None:
    """Rewrite the rollups of an interval from its records. Settlements wait for the duration."""
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute(f'LOCK TABLE "{HourlyUsage._meta.db_table}" IN SHARE ROW EXCLUSIVE MODE')
        of_records, of_rollups = _read(interval)
        HourlyUsage.objects.filter(hour__in={dimensions[1] for dimensions in of_rollups}).delete()
        HourlyUsage.objects.bulk_create(
            HourlyUsage(**dict(zip(DIMENSIONS, dimensions, strict=True)), **dict(zip(MEASURES, measures, strict=True)))
            for dimensions, measures in of_records.items()
        )


def _read(
    interval: RollupInterval,
) -> tuple[dict[DimensionValues, MeasureValues], dict[DimensionValues, MeasureValues]]:
    """Return the measures of an interval by dimensions: from its records, and from its rollups."""
    found: dict[str, dict[DimensionValues, MeasureValues]] = {"records": {}, "rollups": {}}
    for source, *values in _from_records(interval).union(_from_rollups(interval), all=True):
        dimensions, measures = tuple(values[: len(DIMENSIONS)]), tuple(values[len(DIMENSIONS) :])
        if source == "records" or dimensions[1] == interval.hour or not _is_hour(dimensions[1]):
            found[source][dimensions] = measures
    return found["records"], found["rollups"]


def _is_hour(moment: datetime) -> bool:
    """Return whether any request can be part of the hour that starts then.

    None can after the time zone of the installation was changed to one with another half hour.
    """
    return any(begin_of_hour(quarter) == moment for quarter in _quarters(moment))


_WAS_ADMITTED = ~Q(status=UsageRecord.Status.REJECTED)
_AGGREGATES: dict[str, Any] = {
    "requests": Count("pk"),
    **{name: Sum(name, default=0) for name in TOKEN_COLUMNS},
    "requests_without_usage": Count("pk", filter=_WAS_ADMITTED & (Q(input_tokens=None) | Q(output_tokens=None))),
    **{name: Sum(part, default=0) for amount in AMOUNT_COLUMNS for name, part in parts_of(amount).items()},
    "unpriced_requests": Count("pk", filter=_WAS_ADMITTED & Q(cost_usd_picos=None)),
    "client_errors": Count("pk", filter=IS_CLIENT_ERROR),
}
"""The measures of `hourly_rollup.measures_of`, as aggregates over usage records."""


def _from_records(interval: RollupInterval) -> Any:
    settled = UsageRecord.objects.filter(
        created_at__gte=interval.begin, created_at__lt=interval.end, settled_at__isnull=False
    )
    others = DIMENSIONS[3:]
    names = ["source", "api_key_id", "of_hour", "of_model", *others, *(f"{name}_sum" for name in MEASURES)]
    return (
        settled.order_by()
        .annotate(
            source=Value("records", output_field=CharField()),
            of_hour=Value(interval.hour, output_field=DateTimeField()),
            of_model=ROLLUP_MODEL,
        )
        .values("source", "of_hour", "api_key_id", "of_model", *others)
        .annotate(**{f"{name}_sum": _AGGREGATES[name] for name in MEASURES})
        .values_list(*names)
    )


def _from_rollups(interval: RollupInterval) -> Any:
    rollups = HourlyUsage.objects.filter(hour__gte=min(interval.hour, interval.begin), hour__lt=interval.end)
    names = ["source", "api_key_id", "hour", *DIMENSIONS[2:], *MEASURES]
    return rollups.order_by().annotate(source=Value("rollups", output_field=CharField())).values_list(*names)
