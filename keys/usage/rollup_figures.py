"""Figures of an hour from both sources: from its usage records, and from its rollups. One statement reads both."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from django.db.models import CharField, Count, DateTimeField, IntegerField, Q, Sum, Value
from django.db.models.expressions import RawSQL

from keys.domain.latency_buckets import LAST_VALUES
from keys.models import HourlyLatency, HourlyUsage, UsageRecord
from keys.models.usage import AMOUNT_COLUMNS, IS_CLIENT_ERROR, ROLLUP_DIMENSIONS, parts_of
from keys.usage.hourly_rollup import LATENCIES
from keys.usage.rollup_statements import COUNT_COLUMNS, DIMENSIONS, MEASURES, DimensionValues
from lib.periods import begin_of_hour

# A clock change by half an hour leaves hours of which only a part exists: they start and end at quarters.
QUARTER = timedelta(minutes=15)

Figures = dict[DimensionValues, dict[Any, int]]
"""Measures or buckets of rollups, by the dimensions of the rollup."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RollupInterval:
    """The interval of time whose requests are part of one hour."""

    hour: datetime
    begin: datetime
    end: datetime


def quarters_of(hour: datetime) -> list[datetime]:
    return [hour + i * QUARTER for i in range(4)]


def sums(interval: RollupInterval) -> tuple[Figures, Figures]:
    """Return the measures of an interval by dimensions: from its records, and from its rollups."""
    found: dict[str, Figures] = {"records": {}, "rollups": {}}
    for source, dimensions, values in _rows(interval, _recorded_sums(interval), _rolled_up_sums(interval)):
        found[source][dimensions] = dict(zip(MEASURES, values, strict=True))
    return found["records"], found["rollups"]


def histograms(interval: RollupInterval) -> tuple[Figures, Figures]:
    """Return the number of requests of each bucket by dimensions: from the records, and from the rollups."""
    found: dict[str, Figures] = {"records": {}, "rollups": {}}
    parts = [_recorded_histogram(interval, measure) for measure in LATENCIES]
    for source, dimensions, (measure, bucket, requests) in _rows(interval, *parts, _rolled_up_histograms(interval)):
        found[source].setdefault(dimensions, {})[measure, bucket] = requests
    return found["records"], found["rollups"]


def _rows(interval: RollupInterval, *parts: Any) -> Iterator[tuple[str, DimensionValues, tuple[Any, ...]]]:
    """Yield the rows of several queries in one statement. Without rollups of other hours, such as of a clock change."""
    for source, *values in parts[0].union(*parts[1:], all=True):
        dimensions = tuple(values[: len(DIMENSIONS)])
        if source == "records" or dimensions[1] == interval.hour or not _is_hour(dimensions[1]):
            yield source, dimensions, tuple(values[len(DIMENSIONS) :])


def _is_hour(moment: datetime) -> bool:
    """Return whether any request can be part of the hour that starts then.

    None can after the time zone of the installation was changed to one with another half hour.
    """
    return any(begin_of_hour(quarter) == moment for quarter in quarters_of(moment))


_WAS_ADMITTED = ~Q(status=UsageRecord.Status.REJECTED)
_AGGREGATES: dict[str, Any] = {
    "requests": Count("pk"),
    **{name: Sum(name, default=0) for name in COUNT_COLUMNS},
    "requests_without_usage": Count("pk", filter=_WAS_ADMITTED & (Q(input_tokens=None) | Q(output_tokens=None))),
    **{name: Sum(part, default=0) for amount in AMOUNT_COLUMNS for name, part in parts_of(amount).items()},
    "unpriced_requests": Count("pk", filter=_WAS_ADMITTED & Q(cost_usd_picos=None)),
    "client_errors": Count("pk", filter=IS_CLIENT_ERROR),
    "requests_with_latency": Count("duration_ms"),
    "duration_ms": Sum("duration_ms", default=0),
}
"""The measures of `hourly_rollup.measures_of`, as aggregates over usage records."""


def _settled(interval: RollupInterval) -> Any:
    """Return the records of an interval with the dimensions of their rollup, under names of their own."""
    settled = UsageRecord.objects.filter(
        created_at__gte=interval.begin, created_at__lt=interval.end, settled_at__isnull=False
    )
    expressions = {**ROLLUP_DIMENSIONS, "hour": Value(interval.hour, output_field=DateTimeField())}
    return settled.order_by().annotate(
        source=Value("records", output_field=CharField()),
        **{f"of_{name}": expressions[name] for name in DIMENSIONS},
    )


_OF_RECORDS = ("source", *(f"of_{name}" for name in DIMENSIONS))


def _recorded_sums(interval: RollupInterval) -> Any:
    sums = {f"{name}_sum": _AGGREGATES[name] for name in MEASURES}
    return _settled(interval).values(*_OF_RECORDS).annotate(**sums).values_list(*_OF_RECORDS, *sums)


def _recorded_histogram(interval: RollupInterval, measure: str) -> Any:
    subject = (*_OF_RECORDS, "measure", "bucket")
    with_latency = _settled(interval).filter(**{f"{measure}__isnull": False})
    grouped = with_latency.annotate(
        measure=Value(measure, output_field=CharField()),
        bucket=RawSQL(_bucket_sql(measure), [], output_field=IntegerField()),
    ).values(*subject)
    return grouped.annotate(number=Count("id")).values_list(*subject, "number")


@cache
def _bucket_sql(measure: str) -> str:
    """Return `bucket_of` as an expression over usage records.

    As text: Django compiles the expression of a column for 0.1 s, for each hour that is verified or repaired.
    """
    return _bisection(f'"{UsageRecord._meta.db_table}"."{measure}"', 0, len(LAST_VALUES))


def _bisection(column: str, first: int, end: int) -> str:
    if end - first == 1:
        return str(first)
    middle = (first + end) // 2
    lower, upper = _bisection(column, first, middle), _bisection(column, middle, end)
    return f"CASE WHEN {column} <= {LAST_VALUES[middle - 1]} THEN {lower} ELSE {upper} END"


def _rolled_up_sums(interval: RollupInterval) -> Any:
    return _with_source(_rollups(interval, HourlyUsage.objects, "hour")).values_list("source", *DIMENSIONS, *MEASURES)


def _rolled_up_histograms(interval: RollupInterval) -> Any:
    dimensions = [f"hourly_usage__{name}" for name in DIMENSIONS]
    rows = _with_source(_rollups(interval, HourlyLatency.objects, "hourly_usage__hour"))
    return rows.values_list("source", *dimensions, "measure", "bucket", "requests")


def _rollups(interval: RollupInterval, rows: Any, hour: str) -> Any:
    begin = min(interval.hour, interval.begin)
    return rows.filter(**{f"{hour}__gte": begin, f"{hour}__lt": interval.end}).order_by()


def _with_source(rows: Any) -> Any:
    return rows.annotate(source=Value("rollups", output_field=CharField()))
