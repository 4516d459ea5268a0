"""Reader of CSV exports: rows by the names of their columns, one line at a time."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TextIO

from keys.bills.lines import BillError, CellError, shown

MAX_LINE = 1 << 16
MAX_COLUMNS = 500
DELIMITERS = ",;\t"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a CSV file."""

    line: int
    cells: dict[str, str]
    prefix: str = ""
    """The file in an archive."""

    @property
    def position(self) -> str:
        return f"{self.prefix}line {self.line}"

    def get(self, name: str) -> str:
        """Return a cell, or "" where the file has no such column: exports grow over time."""
        return self.cells.get(name, "")

    def read(self, name: str, parse: Any, **options: Any) -> Any:
        """Parse a cell. Raise BillError with line and column."""
        try:
            return parse(self.cells[name], **options)
        except KeyError as error:
            raise BillError(f"{self.position}: there is no column {name}") from error
        except CellError as error:
            raise BillError(f"{self.position}: {name}: {error}") from error


def header_of(line: str) -> tuple[str, list[str]]:
    """Return the delimiter and the names of the columns: the delimiter that gives the most of them."""
    choices = [(delimiter, next(csv.reader([line], delimiter=delimiter), [])) for delimiter in DELIMITERS]
    delimiter, names = max(choices, key=lambda choice: len(choice[1]))
    return delimiter, [name.strip() for name in names]


def iter_rows(file: TextIO, *, prefix: str = "", short_rows: int = 0) -> Iterator[Row]:
    """Yield the rows. A row with `short_rows` cells may omit the others. Raise BillError for other lengths."""
    lines = _lines(file, prefix)
    first = next((line for line in lines if line.strip()), None)
    if first is None:
        raise BillError(f"{prefix}The file is empty.")
    delimiter, names = header_of(first)
    if len(set(names)) < len(names) or len(names) > MAX_COLUMNS:
        raise BillError(f"{prefix}line 1: a column is there twice, or there are more than {MAX_COLUMNS}")
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            line = reader.line_num + 1
            if not cells:
                continue
            if len(cells) not in (len(names), short_rows):
                raise BillError(
                    f"{prefix}line {line}: {len(cells)} cells instead of {len(names)}: the file is cut, or a cell "
                    f"contains {shown(delimiter)}"
                )
            yield Row(line, dict(zip(names, [*cells, *[""] * (len(names) - len(cells))], strict=True)), prefix)
    except csv.Error as error:
        raise BillError(f"{prefix}line {reader.line_num + 1}: not valid CSV: {error}: the file is cut?") from error


def _lines(file: TextIO, prefix: str) -> Iterator[str]:
    """Yield the lines, without reading a line of any length."""
    number = 0
    while True:
        number += 1
        try:
            line = file.readline(MAX_LINE)
        except UnicodeDecodeError as error:
            raise BillError(f"{prefix}line {number}: the file is not UTF-8. Save it as “CSV UTF-8”.") from error
        if not line:
            return
        if len(line) >= MAX_LINE and not line.endswith("\n"):
            raise BillError(f"{prefix}line {number}: longer than {MAX_LINE:,} characters")
        yield line
