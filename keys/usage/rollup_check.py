"""
Proves that the hours are what the rows add up to, and rewrites those that are not.

Both are asked for in one statement, so that calls that are settled meanwhile are in both or in neither.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import CharField, Count, DateTimeField, Min, Q, Sum, Value

from keys.models import HourlyUsage, UsageRecord
from keys.models.usage import CLIENT_ERRORS
from keys.usage.hourly_rollup import DIMENSIONS, SUMS
from lib.periods import begin_of_hour

HOUR = timedelta(hours=1)
# Where clocks are set by half an hour, an hour has a part of one: those begin and end at quarters.
QUARTER = timedelta(minutes=15)

Place = tuple[Any, ...]
"""The values of `DIMENSIONS`."""
Amounts = tuple[int, ...]
"""The values of `SUMS`."""
NOTHING: Amounts = (0,) * len(SUMS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A sum on which rows and hours do not agree."""

    place: Place
    column: str
    rows: int
    hours: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RollupInterval:
    """A stretch of time whose calls belong to one hour."""

    hour: datetime
    begin: datetime
    end: datetime


def iter_stretches(begin: datetime, end: datetime) -> Iterator[RollupInterval]:
    """Those from `begin` on, up to the one that `end` lies in, that have anything in them."""
    while (moment := _next_moment(begin, end)) is not None:
        stretch = _stretch(moment)
        yield stretch
        begin = stretch.end


def _next_moment(begin: datetime, end: datetime) -> datetime | None:
    settled = UsageRecord.objects.filter(created_at__gte=begin, created_at__lt=end, settled_at__isnull=False)
    hours = HourlyUsage.objects.filter(hour__gte=begin, hour__lt=end)
    found = [settled.aggregate(first=Min("created_at"))["first"], hours.aggregate(first=Min("hour"))["first"]]
    return min((moment for moment in found if moment is not None), default=None)


def _stretch(moment: datetime) -> RollupInterval:
    hour = begin_of_hour(moment)
    quarters = [quarter for quarter in _quarters(hour) if begin_of_hour(quarter) == hour]
    return RollupInterval(hour=hour, begin=quarters[0], end=quarters[-1] + QUARTER)


def _quarters(hour: datetime) -> list[datetime]:
    return [hour + i * QUARTER for i in range(4)]


def differences(stretch: RollupInterval) -> list[Difference]:
    """Where rows and hours do not agree. One query."""
    rows, hours = _both(stretch)
    return [
        Difference(place=place, column=column, rows=said, hours=kept)
        for place in sorted({*rows, *hours}, key=repr)
        for column, said, kept in zip(SUMS, rows.get(place, NOTHING), hours.get(place, NOTHING), strict=True)
        if said != kept
    ]


def repair(stretch: RollupInterval) -> None:
    """Make the hour what its rows add up to. Calls that settle meanwhile wait, for as long as that takes."""
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute(f'LOCK TABLE "{HourlyUsage._meta.db_table}" IN SHARE ROW EXCLUSIVE MODE')
        rows, hours = _both(stretch)
        HourlyUsage.objects.filter(hour__in={place[1] for place in hours}).delete()
        HourlyUsage.objects.bulk_create(
            HourlyUsage(**dict(zip(DIMENSIONS, place, strict=True)), **dict(zip(SUMS, amounts, strict=True)))
            for place, amounts in rows.items()
        )


def _both(stretch: RollupInterval) -> tuple[dict[Place, Amounts], dict[Place, Amounts]]:
    """What the rows of a stretch add up to, and what its hour says."""
    found: dict[str, dict[Place, Amounts]] = {"rows": {}, "hours": {}}
    for source, *values in _rows(stretch).union(_hours(stretch), all=True):
        place, amounts = tuple(values[: len(DIMENSIONS)]), tuple(values[len(DIMENSIONS) :])
        if source == "rows" or place[1] == stretch.hour or not _is_hour(place[1]):
            found[source][place] = amounts
    return found["rows"], found["hours"]


def _is_hour(moment: datetime) -> bool:
    """Whether any call belongs to the hour that begins so. None does after the time zone was changed by a half."""
    return any(begin_of_hour(quarter) == moment for quarter in _quarters(moment))


_WAS_MADE = ~Q(status=UsageRecord.Status.REJECTED)
_TOKENS = [name for name in SUMS if name.endswith("_tokens")]
_OF_ROWS: dict[str, Any] = {
    "requests": Count("pk"),
    **{name: Sum(name, default=0) for name in _TOKENS},
    "requests_without_usage": Count("pk", filter=_WAS_MADE & (Q(input_tokens=None) | Q(output_tokens=None))),
    "cost_usd_micros": Sum("cost_usd_micros", default=0),
    "unpriced_requests": Count("pk", filter=_WAS_MADE & Q(cost_usd_micros=None)),
    "client_errors": Count("pk", filter=Q(status=UsageRecord.Status.FAILED, error_type__in=CLIENT_ERRORS)),
}
"""What `hours.sums_of` says of one row, for all of them."""


def _rows(stretch: RollupInterval) -> Any:
    settled = UsageRecord.objects.filter(
        created_at__gte=stretch.begin, created_at__lt=stretch.end, settled_at__isnull=False
    )
    names = ["source", "api_key_id", "of_hour", *DIMENSIONS[2:], *(f"{name}_sum" for name in SUMS)]
    return (
        settled.order_by()
        .annotate(
            source=Value("rows", output_field=CharField()), of_hour=Value(stretch.hour, output_field=DateTimeField())
        )
        .values("source", "of_hour", "api_key_id", *DIMENSIONS[2:])
        .annotate(**{f"{name}_sum": _OF_ROWS[name] for name in SUMS})
        .values_list(*names)
    )


def _hours(stretch: RollupInterval) -> Any:
    kept = HourlyUsage.objects.filter(hour__gte=min(stretch.hour, stretch.begin), hour__lt=stretch.end)
    names = ["source", "api_key_id", "hour", *DIMENSIONS[2:], *SUMS]
    return kept.order_by().annotate(source=Value("hours", output_field=CharField())).values_list(*names)
