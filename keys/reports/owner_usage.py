"""Usage of one owner of keys, a team or a user: by day, by model, by key, and its latest errors."""

from dataclasses import dataclass

from django.db.models import Q

from keys.models import APIKey, UsageRecord
from keys.models.usage import IS_ERROR
from keys.reports import totals
from keys.reports.date_range import DateRange, index_of_day
from keys.reports.totals import Totals, add_up, add_up_by
from keys.reports.usage_report import ReportRow, by_requests, rows_by_day

DAYS = 30
SHOWN_MODELS = 10
SHOWN_KEYS = 20
SHOWN_ERRORS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnerUsage:
    """Settled requests of an owner in the last days, today included."""

    days: list[ReportRow]
    models: list[ReportRow]
    """The busiest models; all others in a row without a subject."""
    keys: list[ReportRow]
    """The busiest keys, as API keys; all others in a row without a subject."""
    total: Totals
    month: Totals
    """Of the current month."""
    errors: list[UsageRecord]


def owner_usage(owner: Q) -> OwnerUsage:
    """Read the usage of an owner: a condition such as `Q(team_id=3)`, of hourly rollups and records. Six queries."""
    dates = DateRange.last_days(DAYS)
    hours = totals.hourly(*dates.bounds()).filter(owner)
    calendar = dates.days()
    by_day = [
        (calendar[day], totals.from_columns(columns))
        for day, *columns in totals.grouped(hours, "day", day=index_of_day("hour", calendar))
    ]
    by_model = [(model, totals.from_columns(columns)) for model, *columns in totals.grouped(hours, "model")]
    by_key = [(pk, totals.from_columns(columns)) for pk, *columns in totals.grouped(hours, "api_key_id")]
    failing = [pk for pk, part in by_key if part.errors]
    errors = UsageRecord.objects.filter(owner, IS_ERROR, api_key__in=failing, created_at__gte=dates.bounds()[0])
    errors = errors.select_related("api_key").defer("attempts", "reservations").order_by("-created_at", "-pk")
    return OwnerUsage(
        days=rows_by_day(add_up_by(by_day), dates),
        models=_busiest(by_model, SHOWN_MODELS),
        keys=_named(_busiest(by_key, SHOWN_KEYS)),
        total=add_up([part for _, part in by_day]),
        month=totals.total(totals.hourly(*DateRange.this_month().bounds()).filter(owner)),
        errors=list(errors[:SHOWN_ERRORS]) if failing else [],
    )


def _busiest(parts: list[tuple[object, Totals]], shown: int) -> list[ReportRow]:
    """Return the busiest subjects, and all others in one row, so that the table adds up to the total."""
    rows = [ReportRow(subject=subject, totals=part) for subject, part in parts]
    rows.sort(key=by_requests, reverse=True)
    if len(rows) <= shown:
        return rows
    return [*rows[:shown], ReportRow(subject=None, totals=add_up([row.totals for row in rows[shown:]]))]


def _named(rows: list[ReportRow]) -> list[ReportRow]:
    keys = APIKey.objects.in_bulk([row.subject for row in rows if row.subject is not None])
    return [ReportRow(subject=keys.get(row.subject), totals=row.totals) for row in rows]
