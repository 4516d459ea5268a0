"""Verification of an exported file by its checksum, and the lines of a changed one that differ from the figures now."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from pathlib import Path

from django.utils import timezone

from keys.reports import signed_csv, usage_csv
from keys.reports.date_range import DateRange

Line = tuple[int, list[str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportCheck:
    """Whether a file is as it was exported."""

    query: dict[str, str]
    lines: int
    is_unchanged: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class DifferentLine:
    """A line of a file that is not exported now, or the reverse."""

    number: int | None
    """Its number in the file; None if the file lacks it."""
    cells: tuple[str, ...]


def check(path: Path) -> ExportCheck:
    """Compare a file with its checksum, in constant memory. Raise UnreadableExport."""
    with signed_csv.opened(path) as file:
        lines = sum(1 for _ in file.rows())
        query = {name: value for name, value in file.query.items() if name != signed_csv.CHECKSUM}
        return ExportCheck(query=query, lines=lines, is_unchanged=file.is_unchanged)


def different_lines(path: Path) -> Iterator[DifferentLine]:
    """Yield the lines of a usage export that differ from the figures now, in the memory that one day needs.

    Nothing for a file whose query cannot be repeated: another export, or another time zone.
    """
    with signed_csv.opened(path) as file:
        dates = _dates(file.query)
        if dates is not None:
            yield from _compare(file.rows(), dates)


def _dates(query: dict[str, str]) -> DateRange | None:
    try:
        dates = DateRange(first=date.fromisoformat(query["from"]), last=date.fromisoformat(query["to"]))
    except (KeyError, ValueError):
        return None
    is_same_zone = query.get("time_zone") == timezone.get_default_timezone_name()
    return dates if query.get("export") == "usage" and is_same_zone else None


def _compare(lines: Iterator[Line], dates: DateRange) -> Iterator[DifferentLine]:
    """Compare day by day. A line counts for the day at which the file has it, unless its own day is a later one."""
    later = {day.isoformat() for day in dates.days()}
    line = next(lines, None)
    for day, rows in groupby(usage_csv.rows(dates), key=lambda cells: cells[0]):
        later = {each for each in later if each > day}
        expected = Counter(tuple(cells) for cells in rows)
        while line is not None and (not line[1] or line[1][0] not in later):
            cells = tuple(line[1])
            if expected[cells]:
                expected[cells] -= 1
            else:
                yield DifferentLine(number=line[0], cells=cells)
            line = next(lines, None)
        for cells in expected.elements():
            yield DifferentLine(number=None, cells=cells)
    while line is not None:
        yield DifferentLine(number=line[0], cells=tuple(line[1]))
        line = next(lines, None)
