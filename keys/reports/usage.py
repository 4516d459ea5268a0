"""
The only reader that adds usage up.

It reads hours, and of rows only those of calls that run, so a million calls make no difference. One statement reads a
period in every grouping that a page shows; so its totals, days, keys and models agree, even while calls come in.
"""

import operator
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import reduce
from itertools import groupby
from typing import Any

from django.db.models import BigIntegerField, Case, CharField, DateTimeField, F, Sum, Value, When
from django.utils import timezone

from keys.models import APIKey
from keys.reports import totals as sums
from keys.reports.totals import Totals

SHOWN = 50
MOST_MODELS = 1000
"""Callers choose the names of models. Beyond so many they are among all others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Period:
    """Whole days in the reporting time zone."""

    first: date
    last: date
    """The last day that belongs to it."""

    def bounds(self) -> tuple[datetime, datetime]:
        """The half-open interval of moments. A day of a clock change has 23 or 25 hours, and is whole all the same."""
        return _begin(self.first), _begin(self.last + timedelta(days=1))

    def days(self) -> list[date]:
        return [self.first + timedelta(days=i) for i in range((self.last - self.first).days + 1)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """The key of some calls, as people know it."""

    public_id: str
    name: str
    hint: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Slice:
    """The finest part of a report: what one key asked of one model on one day."""

    day: date
    key: Key
    model: str
    sums: Totals


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A line of a table. `subject` is a day, a key, a model, or None for all that the table does not name."""

    subject: Any
    sums: Totals


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """A period added up in four ways. Each table adds up to the total."""

    period: Period
    total: Totals
    days: list[Row]
    """Every day, in order, those without a call too."""
    keys: list[Row]
    models: list[Row]


def report(period: Period) -> Report:
    """Add a period up. Three queries, however many keys there are."""
    parts = _read(period)
    by_day = _by_day([*parts[BY_HOUR], *parts[RUNNING]], period)
    total = _total(by_day.values())
    return Report(
        period=period,
        total=total,
        days=_days(by_day, period),
        keys=_with_keys(_table(_by(KEY, parts[BY_KEY], parts[RUNNING], most=SHOWN), total)),
        models=_table(_by(MODEL, parts[BY_MODEL], parts[RUNNING], most=MOST_MODELS), total),
    )


def days(period: Period) -> list[Row]:
    """The days of a period, in order. One query."""
    return _days(_by_day(_by_hour(period).union(_running(period), all=True), period), period)


def totals(period: Period) -> Totals:
    """What a period adds up to. One query."""
    return _total(row.sums for row in days(period))


def iter_slices(period: Period) -> Iterator[Slice]:
    """The finest parts of a period, by day, key and model. One query."""
    names = {"public_id": F("api_key__public_id"), "name": F("api_key__name")}
    subject = ("day", "name", "public_id", "model")
    calendar = period.days()
    begin, end = period.bounds()
    settled = sums.summed(sums.hours(begin, end), *subject, day=index_of_day("hour", calendar), **names)
    running = sums.summed(sums.running(begin, end), *subject, day=index_of_day("created_at", calendar), **names)
    rows = settled.union(running, all=True).order_by(*subject)
    for (day, name, public_id, model), parts in groupby(rows.iterator(), key=lambda row: row[:4]):
        part = _total(sums.from_columns(row[4:]) for row in parts)
        yield Slice(day=calendar[day], key=Key(public_id=public_id, name=name), model=model, sums=part)


# ---- one statement for all groupings: rows of its part, a key, a model, a moment, and the sums

BY_HOUR, BY_MODEL, BY_KEY, RUNNING = range(4)
KEY, MODEL, MOMENT, SUMS = 1, 2, 3, 4
_SUBJECT = ("part", "of_key", "of_model", "moment")
# The same in every part that is not grouped by it.
_NO_KEY = Value(0, output_field=BigIntegerField())
_NO_MODEL = Value("", output_field=CharField())
_NO_MOMENT = Value(datetime(1970, 1, 1, tzinfo=UTC), output_field=DateTimeField())


def _read(period: Period) -> list[list[Any]]:
    """The rows of each part, all of one moment.

    Each part is grouped in the order of an index, and of keys only the busiest are added up: SQLite would sort the
    hours of the period for each grouping, which took most of the time of a report (2.3 of 2.8 s over 364,000 hours).
    """
    models = sums.named_models(limit=MOST_MODELS)
    parts: list[list[Any]] = [[], [], [], []]
    for row in _by_hour(period).union(_by_model(period, models), _by_key(period), _running(period), all=True):
        parts[row[0]].append(row)
    return parts


def _part(number: int, rows: Any, *, key: Any = _NO_KEY, model: Any = _NO_MODEL, moment: Any = _NO_MOMENT) -> Any:
    part = Value(number, output_field=BigIntegerField())
    return sums.summed(rows, *_SUBJECT, part=part, of_key=key, of_model=model, moment=moment)


def _by_hour(period: Period) -> Any:
    return _part(BY_HOUR, sums.hours(*period.bounds()), moment=F("hour"))


def _by_model(period: Period, models: list[str]) -> Any:
    return _part(BY_MODEL, sums.hours(*period.bounds()).filter(model__in=models), model=F("model"))


def _by_key(period: Period) -> Any:
    hours = sums.hours(*period.bounds())
    busiest = hours.values("api_key_id").annotate(all=Sum("requests")).order_by("-all", "api_key_id")[:SHOWN]
    return _part(BY_KEY, hours.filter(api_key_id__in=busiest.values("api_key_id")), key=F("api_key_id"))


def _running(period: Period) -> Any:
    rows = sums.running(*period.bounds())
    return _part(RUNNING, rows, key=F("api_key_id"), model=F("model"), moment=F("created_at"))


def _by_day(rows: Iterable[Any], period: Period) -> dict[date, Totals]:
    calendar = period.days()
    begins = [_begin(day) for day in calendar]
    return _added((calendar[bisect_right(begins, row[MOMENT]) - 1], sums.from_columns(row[SUMS:])) for row in rows)


def _by(subject: int, rows: list[Any], running: list[Any], *, most: int) -> dict[Any, Totals]:
    """The sums by key or by model, for those that are told of. Without its running calls, none is left out for them."""
    told = {row[subject] for row in rows}
    added = [row for row in running if row[subject] in told or len(told) < most]
    return _added((row[subject], sums.from_columns(row[SUMS:])) for row in [*rows, *added])


def _begin(day: date) -> datetime:
    return datetime.combine(day, time.min, tzinfo=timezone.get_default_timezone()).astimezone(UTC)


def index_of_day(column: str, days: list[date], first: int = 0) -> Any:
    """Which of the days a moment belongs to, by bisection at the same bounds as the period's.

    A database's own function would ask its own time zone tables; on SQLite it also calls Python for every row, which
    took most of the time of a report over a million calls (9.2 s; this way 4.3 s).
    """
    if len(days) == 1:
        return Value(first)
    middle = len(days) // 2
    return Case(
        When(**{f"{column}__lt": _begin(days[middle])}, then=index_of_day(column, days[:middle], first)),
        default=index_of_day(column, days[middle:], first + middle),
    )


# ---- rows of tables


def _days(by_day: dict[date, Totals], period: Period) -> list[Row]:
    return [Row(subject=day, sums=by_day.get(day, Totals())) for day in period.days()]


def _total(parts: Iterable[Totals]) -> Totals:
    return reduce(operator.add, parts, Totals())


def _added(parts: Iterable[tuple[Any, Totals]]) -> dict[Any, Totals]:
    added: dict[Any, Totals] = {}
    for subject, part in parts:
        added[subject] = added[subject] + part if subject in added else part
    return added


def _table(grouped: dict[Any, Totals], total: Totals) -> list[Row]:
    """The busiest, and all others in one row, so that the table adds up to the total."""
    rows = [Row(subject=subject, sums=part) for subject, part in grouped.items()]
    rows.sort(key=lambda row: row.sums.requests + row.sums.rejected, reverse=True)
    others = total - _total(row.sums for row in rows[:SHOWN])
    return rows[:SHOWN] + ([] if others == Totals() else [Row(subject=None, sums=others)])


def _with_keys(rows: list[Row]) -> list[Row]:
    """The same rows, with the keys as people know them, by the hint of the newest secret, in the place of their ids."""
    ids = [row.subject for row in rows if row.subject is not None]
    secrets = APIKey.objects.filter(pk__in=ids).order_by("secrets__created_at", "secrets__pk")
    found = {
        pk: Key(public_id=public_id, name=name, hint=hint or "")
        for pk, public_id, name, hint in secrets.values_list("pk", "public_id", "name", "secrets__hint")
    }
    return [row if row.subject is None else Row(subject=found[row.subject], sums=row.sums) for row in rows]
