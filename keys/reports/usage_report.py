"""Usage report of a range of days: totals by day, by API key and by model."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import groupby
from typing import Any

from django.db.models import BigIntegerField, CharField, DateTimeField, F, Q, Sum, Value

from keys.domain import raw_key
from keys.models import APIKey
from keys.reports import totals
from keys.reports.date_range import DateRange, index_of_day, start_of
from keys.reports.totals import Totals, add_up, add_up_by

SHOWN = 50
MOST_MODELS = 1000
"""Models beyond this number, those with the fewest admitted requests, are in the row of all others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyLabel:
    """The public description of an API key."""

    public_id: str
    name: str
    hint: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class UsageSlice:
    """The finest part of a report: the requests of one key for one model on one day."""

    day: date
    key: KeyLabel
    model: str
    totals: Totals


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportRow:
    """A row of a table. The subject is a day, a key or a model; None for all that have no row of their own.

    The model "" stands for all names that the hourly rollups do not have.
    """

    subject: Any
    totals: Totals


@dataclass(frozen=True, kw_only=True, slots=True)
class UsageReport:
    """Totals of a range of days in four groupings. Each table adds up to the total."""

    dates: DateRange
    total: Totals
    days: list[ReportRow]
    """Every day, in order, also those without requests."""
    keys: list[ReportRow]
    models: list[ReportRow]


def report(dates: DateRange) -> UsageReport:
    """Read a usage report. Three queries, however many keys there are.

    It reads hourly rollups, and usage records of in-flight requests only, so its time does not grow with the number
    of requests. One statement reads all groupings, so that they agree with each other while requests arrive.
    """
    parts = _read(dates)
    by_day = _by_day([*parts[BY_HOUR], *parts[IN_FLIGHT]], dates)
    total = add_up(by_day.values())
    return UsageReport(
        dates=dates,
        total=total,
        days=rows_by_day(by_day, dates),
        keys=_with_labels(_table(_by(KEY, parts[BY_KEY], parts[IN_FLIGHT], most=SHOWN), total)),
        models=_table(_by(MODEL, parts[BY_MODEL], parts[IN_FLIGHT], most=MOST_MODELS), total),
    )


def days(dates: DateRange) -> list[ReportRow]:
    """Return the days of a range, in order. One query."""
    return rows_by_day(_by_day(_by_hour(dates).union(_in_flight(dates), all=True), dates), dates)


def total(dates: DateRange) -> Totals:
    """Add up a range of days. One query."""
    return add_up([row.totals for row in days(dates)])


def by_requests(row: ReportRow) -> tuple[int, int]:
    """Return the sort value of a row. Admitted requests come first: a client can have any number rejected."""
    return row.totals.requests, row.totals.rejected


def rows_by_day(by_day: dict[date, Totals], dates: DateRange) -> list[ReportRow]:
    return [ReportRow(subject=day, totals=by_day.get(day, Totals())) for day in dates.days()]


def iter_slices(dates: DateRange) -> Iterator[UsageSlice]:
    """Yield the finest parts of a range, in the order of day, key and model. One query."""
    names = {"public_id": F("api_key__public_id"), "name": F("api_key__name")}
    subject = ("day", "name", "public_id", "model")
    calendar = dates.days()
    begin, end = dates.bounds()
    settled = totals.grouped(totals.hourly(begin, end), *subject, day=index_of_day("hour", calendar), **names)
    in_flight = totals.grouped(
        totals.in_flight(begin, end), *subject, day=index_of_day("created_at", calendar), **names
    )
    rows = settled.union(in_flight, all=True).order_by(*subject)
    for (day, name, public_id, model), parts in groupby(rows.iterator(), key=lambda row: row[:4]):
        label = KeyLabel(public_id=public_id, name=name)
        part = add_up([totals.from_columns(row[4:]) for row in parts])
        yield UsageSlice(day=calendar[day], key=label, model=model, totals=part)


# ---- one statement for all groupings: rows of the part, a key, a model, a datetime, and the columns of the totals

BY_HOUR, BY_MODEL, BY_KEY, IN_FLIGHT = range(4)
KEY, MODEL, MOMENT, TOTALS = 1, 2, 3, 4
_SUBJECT = ("part", "of_key", "of_model", "moment")
# The same in every part that is not grouped by it.
_NO_KEY = Value(0, output_field=BigIntegerField())
_NO_MODEL = Value("", output_field=CharField())
_NO_MOMENT = Value(datetime(1970, 1, 1, tzinfo=UTC), output_field=DateTimeField())


def _read(dates: DateRange) -> list[list[Any]]:
    """Read the rows of all parts in one statement.

    Each part is grouped in the order of an index, and only the busiest keys are added up: SQLite would sort the
    rollups of the range for each grouping, which took most of the time of a report (2.3 of 2.8 s over 364,000 rollups).
    """
    models = totals.named_models(limit=MOST_MODELS + 1)
    if len(models) > MOST_MODELS:
        models = _busiest_models(dates)
    parts: list[list[Any]] = [[], [], [], []]
    for row in _by_hour(dates).union(_by_model(dates, models), _by_key(dates), _in_flight(dates), all=True):
        parts[row[0]].append(row)
    return parts


def _part(number: int, rows: Any, *, key: Any = _NO_KEY, model: Any = _NO_MODEL, moment: Any = _NO_MOMENT) -> Any:
    part = Value(number, output_field=BigIntegerField())
    return totals.grouped(rows, *_SUBJECT, part=part, of_key=key, of_model=model, moment=moment)


def _by_hour(dates: DateRange) -> Any:
    return _part(BY_HOUR, totals.hourly(*dates.bounds()), moment=F("hour"))


def _busiest_models(dates: DateRange) -> list[str]:
    """Return the models with most admitted requests. It reads all rollups of the range, so only for many models."""
    admitted = Sum("requests", filter=~Q(status="rejected"), default=0)
    rows = totals.hourly(*dates.bounds()).values("model").annotate(admitted=admitted)
    return list(rows.order_by("-admitted", "model").values_list("model", flat=True)[:MOST_MODELS])


def _by_model(dates: DateRange, models: list[str]) -> Any:
    return _part(BY_MODEL, totals.hourly(*dates.bounds()).filter(model__in=models), model=F("model"))


def _by_key(dates: DateRange) -> Any:
    hours = totals.hourly(*dates.bounds())
    busiest = hours.values("api_key_id").annotate(all=Sum("requests")).order_by("-all", "api_key_id")[:SHOWN]
    return _part(BY_KEY, hours.filter(api_key_id__in=busiest.values("api_key_id")), key=F("api_key_id"))


def _in_flight(dates: DateRange) -> Any:
    rows = totals.in_flight(*dates.bounds())
    return _part(IN_FLIGHT, rows, key=F("api_key_id"), model=F("model"), moment=F("created_at"))


def _by_day(rows: Iterable[Any], dates: DateRange) -> dict[date, Totals]:
    calendar = dates.days()
    begins = [start_of(day) for day in calendar]
    return add_up_by(
        [(calendar[bisect_right(begins, row[MOMENT]) - 1], totals.from_columns(row[TOTALS:])) for row in rows]
    )


def _by(subject: int, rows: list[Any], in_flight: list[Any], *, most: int) -> dict[Any, Totals]:
    """Add up by key or by model.

    A subject that has only in-flight requests gets a row of its own only while `rows` leave no subject out.
    """
    listed = {row[subject] for row in rows}
    added = [row for row in in_flight if row[subject] in listed or len(listed) < most]
    return add_up_by([(row[subject], totals.from_columns(row[TOTALS:])) for row in [*rows, *added]])


# ---- rows of tables


def _table(by_subject: dict[Any, Totals], total: Totals) -> list[ReportRow]:
    """Return the busiest subjects, and all others in one row, so that the table adds up to the total."""
    rows = [ReportRow(subject=subject, totals=part) for subject, part in by_subject.items()]
    rows.sort(key=by_requests, reverse=True)
    others = total - add_up([row.totals for row in rows[:SHOWN]])
    return rows[:SHOWN] + ([] if others == Totals() else [ReportRow(subject=None, totals=others)])


def _with_labels(rows: list[ReportRow]) -> list[ReportRow]:
    """Replace the ids of keys by their labels, with the hint of the newest secret."""
    ids = [row.subject for row in rows if row.subject is not None]
    secrets = APIKey.objects.filter(pk__in=ids).order_by("secrets__created_at", "secrets__pk")
    found = {
        pk: KeyLabel(public_id=public_id, name=name, hint=raw_key.shown_hint(hint) if hint else "")
        for pk, public_id, name, hint in secrets.values_list("pk", "public_id", "name", "secrets__hint")
    }
    return [row if row.subject is None else ReportRow(subject=found[row.subject], totals=row.totals) for row in rows]
