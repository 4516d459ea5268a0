"""Usage export: one CSV line for each day, API key and model, streamed, with formulas made inert."""

from collections.abc import Callable, Iterator
from typing import Any

from django.utils import timezone

from keys.reports import usage_report
from keys.reports.csv_text import inert
from keys.reports.date_range import DateRange
from keys.reports.signed_csv import signed
from keys.reports.totals import Totals
from keys.reports.usage_report import UsageSlice
from lib import money

COLUMNS: dict[str, Callable[[UsageSlice], Any]] = {
    "day": lambda part: part.day.isoformat(),
    "key": lambda part: inert(part.key.public_id),
    "key_name": lambda part: inert(part.key.name),
    "model": lambda part: inert(part.model),
    "requests": lambda part: part.totals.requests,
    "completed": lambda part: part.totals.completed,
    "client_disconnected": lambda part: part.totals.client_disconnected,
    "errors": lambda part: part.totals.errors,
    "client_errors": lambda part: part.totals.client_errors,
    "in_flight": lambda part: part.totals.in_flight,
    "rejected_requests": lambda part: part.totals.rejected,
    "input_tokens": lambda part: part.totals.input_tokens,
    "cache_read_tokens": lambda part: part.totals.cache_read_tokens,
    "cache_write_tokens": lambda part: part.totals.cache_write_tokens,
    "output_tokens": lambda part: part.totals.output_tokens,
    "requests_without_usage": lambda part: part.totals.without_usage,
    "usage_reported": lambda part: part.totals.source_reported,
    "usage_partial": lambda part: part.totals.source_partial,
    "usage_estimated": lambda part: part.totals.source_estimated,
    "usage_none": lambda part: part.totals.source_none,
    "cost_usd": lambda part: _cost(part.totals),
    "unpriced_requests": lambda part: part.totals.unpriced,
}


def csv_lines(dates: DateRange) -> Iterator[str]:
    """Yield one line for each day, key and model."""
    return signed(list(COLUMNS), rows(dates), query=query_of(dates))


def rows(dates: DateRange) -> Iterator[list[str]]:
    """Yield the cells of each line."""
    for part in usage_report.iter_slices(dates):
        yield [str(value(part)) for value in COLUMNS.values()]


def query_of(dates: DateRange) -> dict[str, str]:
    """Return what the file contains, in its own words."""
    period = {"from": dates.first.isoformat(), "to": dates.last.isoformat()}
    return {"export": "usage", **period, "time_zone": timezone.get_default_timezone_name()}


def _cost(totals: Totals) -> str:
    """Return dollars, of priced requests; nothing if no request is priced, which is not 0."""
    return "" if totals.is_unpriced else money.decimal(totals.cost_picos)
