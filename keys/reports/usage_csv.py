"""Usage as CSV, for spreadsheets: streamed, and with every text inert."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from keys.reports import usage
from keys.reports.totals import NAMES, Totals
from keys.reports.usage import Period, Slice
from lib import money

_COUNTS = [name for name in NAMES if name not in ("cost", "unpriced")]
HEADER = ["day", "key", "key_name", "model", "requests", *_COUNTS[:5], "input_tokens", "cache_read_tokens"]
HEADER += ["cache_write_tokens", "output_tokens", "calls_with_unknown_tokens"]
HEADER += [f"usage_{name}" for name in ("reported", "partial", "estimated", "none")]
HEADER += ["cost_usd", "unpriced_requests"]

# A spreadsheet takes a cell that begins so for a formula, spaces in front or not.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_lines(period: Period) -> Iterator[str]:
    """One line for each day, key and model."""
    return written(HEADER, map(_cells, usage.iter_slices(period)))


def written(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """The lines of a CSV file, one by one. Whoever makes the rows makes their texts inert."""
    write = csv.writer(_Echo()).writerow
    yield write(header)
    for row in rows:
        yield write(row)


def _cells(part: Slice) -> list[Any]:
    texts = [part.day.isoformat(), part.key.public_id, part.key.name, part.model]
    counts = [part.sums.requests, *(getattr(part.sums, name) for name in _COUNTS)]
    return [*map(inert, texts), *counts, _cost(part.sums), part.sums.unpriced]


def _cost(sums: Totals) -> str:
    """Dollars, of the calls that have a price; nothing where none has one, which is not 0."""
    return "" if sums.unpriced and sums.unpriced == sums.ended else money.plain(sums.cost)


def inert(text: str) -> str:
    """The text, with a `'` in front if a spreadsheet would take it for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) or text.lstrip().startswith(_FORMULA) else text


class _Echo:
    """A file that hands back what is written to it."""

    def write(self, line: str) -> str:
        return line
