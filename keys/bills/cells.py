"""Cells in which tokens are compared: UTC day, model and what was served, with tokens by kind. Pure."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from keys.bills.lines import Kind

KINDS = (Kind.INPUT, Kind.OUTPUT, Kind.CACHE_READ, Kind.CACHE_WRITE_5M, Kind.CACHE_WRITE_1H, Kind.WEB_SEARCH)
"""What is compared as a whole number."""
GROUPS = {
    Kind.INPUT: "input",
    Kind.OUTPUT: "output",
    Kind.CACHE_READ: "cache_read",
    Kind.CACHE_WRITE_5M: "cache_write",
    Kind.CACHE_WRITE_1H: "cache_write",
    Kind.WEB_SEARCH: "item",
}
"""The part of a record's cost that has the kind."""
DIMENSIONS = ("service_tier", "speed", "inference_geo")
NEUTRAL = {"service_tier": "standard", "speed": "standard", "inference_geo": "global"}
_SYNONYMS = {"": None, "default": "standard", "auto": "standard", "not_available": "global"}
_DATE = re.compile(r"[-@](20\d{2}-?[01]\d-?[0-3]\d|latest)$", re.ASCII)

Tokens = dict[str, int]
"""By kind, without zeros."""


@dataclass(frozen=True, order=True, slots=True)
class Cell:
    day: date
    model: str
    """Without the date of a dated ID."""
    service_tier: str = ""
    speed: str = ""
    inference_geo: str = ""

    @property
    def facts(self) -> dict[str, str]:
        return {name: getattr(self, name) for name in DIMENSIONS}


def canonical(model: str) -> str:
    """Return the model without the date of a dated ID or `-latest`: both name the same model."""
    return _DATE.sub("", model)


def neutral(dimension: str, value: str) -> str:
    """Return the value of a dimension with one spelling of its neutral value."""
    known = _SYNONYMS.get(value, value)
    return NEUTRAL[dimension] if known is None else known


def plus(first: Mapping[str, int], second: Mapping[str, int], *, times: int = 1) -> Tokens:
    """Return first + times · second, without zeros."""
    total = {kind: first.get(kind, 0) + times * second.get(kind, 0) for kind in {*first, *second}}
    return {kind: total[kind] for kind in KINDS if total.get(kind)}


def minus(first: Mapping[str, int], second: Mapping[str, int]) -> Tokens:
    return plus(first, second, times=-1)


def total(all_tokens: Iterable[Mapping[str, int]]) -> Tokens:
    found: Tokens = {}
    for each in all_tokens:
        found = plus(found, each)
    return found


def size(tokens: Mapping[str, int]) -> int:
    """Return how far two counts are apart, of which this is the difference."""
    return sum(map(abs, tokens.values()))


def covers(whole: Mapping[str, int], part: Mapping[str, int]) -> bool:
    """Return whether there are at least as many tokens of each kind."""
    return all(whole.get(kind, 0) >= count for kind, count in part.items())


def is_positive(tokens: Mapping[str, int]) -> bool:
    return bool(tokens) and min(tokens.values()) > 0


def is_negative(tokens: Mapping[str, int]) -> bool:
    return bool(tokens) and max(tokens.values()) < 0
