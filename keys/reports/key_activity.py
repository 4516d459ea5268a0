"""Activity of one API key: totals of the last 30 days, latest requests and latest errors."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Q
from django.utils import timezone

from keys.models import APIKey, UsageRecord
from keys.models.usage import IS_ERROR
from keys.reports import totals
from keys.reports.date_range import DateRange, index_of_day
from keys.reports.latencies import Latencies, latencies
from keys.reports.totals import Totals, add_up, add_up_by
from keys.reports.usage_report import ReportRow, by_requests, rows_by_day

DAYS = 30
SHOWN_MODELS = 8
SHOWN_ERRORS = 10
SHOWN_REQUESTS = 20
COUNTED_REQUESTS = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyActivity:
    """Settled requests of a key in the last 30 days, today included."""

    days: list[ReportRow]
    """Every day, in order."""
    models: list[ReportRow]
    """The busiest models; all others in a row without a subject."""
    total: Totals
    latencies: Latencies


def activity(api_key: APIKey) -> KeyActivity:
    """Read the activity of a key. Two queries, of at most one row for each day and model, and for each bucket."""
    dates = DateRange.last_days(DAYS)
    days = dates.days()
    hours = totals.hourly(*dates.bounds()).filter(api_key=api_key)
    rows = [
        (days[day], model, totals.from_columns(columns))
        for day, model, *columns in totals.grouped(hours, "day", "model", day=index_of_day("hour", days))
    ]
    by_day = add_up_by([(day, part) for day, _, part in rows])
    by_model = add_up_by([(model, part) for _, model, part in rows])
    return KeyActivity(
        days=rows_by_day(by_day, dates),
        models=_busiest(by_model),
        total=add_up(by_day.values()),
        latencies=latencies(hours),
    )


def _busiest(by_model: dict[str, Totals]) -> list[ReportRow]:
    rows = [ReportRow(subject=model, totals=part) for model, part in by_model.items()]
    rows.sort(key=by_requests, reverse=True)
    others = rows[SHOWN_MODELS:]
    if not others:
        return rows
    return [*rows[:SHOWN_MODELS], ReportRow(subject=None, totals=add_up([row.totals for row in others]))]


# ---- requests


def recent_requests(api_key: APIKey) -> list[UsageRecord]:
    """Return the newest requests, in-flight ones included. One query."""
    return list(_requests_of(api_key)[:SHOWN_REQUESTS])


def recent_errors(api_key: APIKey) -> list[UsageRecord]:
    """Return the newest errors. One query."""
    return list(_requests_of(api_key).filter(IS_ERROR)[:SHOWN_ERRORS])


def last_admitted(api_key: Any, requests: list[UsageRecord]) -> UsageRecord | None:
    """Return the newest admitted request, from the newest requests or, if all of those were rejected, by the last use.

    The last use is recorded at most every five minutes, so the request may be that much older. `api_key` is annotated
    with it.
    """
    for request in requests:
        if request.status != UsageRecord.Status.REJECTED:
            return request
    if api_key.last_used_at is None:
        return None
    return _requests_of(api_key).filter(created_at=api_key.last_used_at).first()


def count_of_last_hour(api_key: APIKey) -> int:
    """Count the requests of the last hour, up to `COUNTED_REQUESTS`. One query."""
    recent = Q(created_at__gt=timezone.now() - timedelta(hours=1))
    return _requests_of(api_key).filter(recent).order_by()[:COUNTED_REQUESTS].count()


def _requests_of(api_key: APIKey) -> Any:
    return UsageRecord.objects.filter(api_key=api_key).defer("attempts", "reservations").order_by("-created_at", "-pk")
