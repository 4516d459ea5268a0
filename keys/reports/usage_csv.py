"""Usage export: one CSV line for each day, API key and model, streamed, with formulas made inert."""

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from keys.reports import usage_report
from keys.reports.date_range import DateRange
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

# A spreadsheet takes a cell that begins so for a formula, spaces in front or not. Some accept full-width signs as well.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def csv_lines(dates: DateRange) -> Iterator[str]:
    """Yield one line for each day, key and model."""
    cells = ([value(part) for value in COLUMNS.values()] for part in usage_report.iter_slices(dates))
    return written(list(COLUMNS), cells)


def written(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """Yield the lines of a CSV file. The texts of rows must be inert already."""
    write = csv.writer(_Echo()).writerow
    yield write(header)
    for row in rows:
        yield write(row)


def _cost(totals: Totals) -> str:
    """Return dollars, of priced requests; nothing if no request is priced, which is not 0."""
    return "" if totals.is_unpriced else money.decimal(totals.cost_picos)


def inert(text: str) -> str:
    """Return the text, with a `'` in front if a spreadsheet would take it for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) or text.lstrip().startswith(_FORMULA) else text


class _Echo:
    """A file that returns what is written to it."""

    def write(self, line: str) -> str:
        return line
