"""Tables to export: typed columns, and rows that are read while they are written."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any


class ValueType(Enum):
    """The type of a column's values. Every value may be None, for unknown."""

    TEXT = "text"
    COUNT = "count"
    """An integer."""
    USD = "usd"
    """An integer of pico-dollars."""
    NUMBER = "number"
    """A decimal number, as `float`: rates and percentiles, never money."""
    MOMENT = "moment"
    """A `datetime` with a time zone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    name: str
    type: ValueType = ValueType.TEXT


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportTable:
    """What a file contains. Its rows can be read once."""

    name: str
    """Stem of the file name, and title of a sheet."""
    query: Mapping[str, str]
    """What the rows are, in words: written into the file."""
    columns: Sequence[Column]
    rows: Iterable[Sequence[Any]]


def texts(*names: str) -> list[Column]:
    return [Column(name=name) for name in names]


def counts(*names: str) -> list[Column]:
    return [Column(name=name, type=ValueType.COUNT) for name in names]


def amounts(*names: str) -> list[Column]:
    return [Column(name=name, type=ValueType.USD) for name in names]
