"""Lines of CSV files, and texts that no spreadsheet takes for a formula."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

# A spreadsheet takes a cell that begins so for a formula, spaces in front or not. Some accept full-width signs as well.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def written(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """Yield the lines of a CSV file. The texts of rows must be inert already."""
    yield line(header)
    yield from map(line, rows)


def line(cells: Sequence[Any]) -> str:
    """Return the cells as a line."""
    return str(_write(cells))


def inert(text: str) -> str:
    """Return the text, with a `'` in front if a spreadsheet would take it for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) or text.lstrip().startswith(_FORMULA) else text


class _Echo:
    """A file that returns what is written to it."""

    def write(self, line: str) -> str:
        return line


_write = csv.writer(_Echo()).writerow
