"""Price modifiers: which of them apply to a part of a request, and which values a price does not know. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import combinations

from keys.domain import utc_hours
from keys.domain.price_kinds import OUTPUT_KINDS
from keys.domain.utc_hours import Minutes

PROMPT_OVER = "prompt_over"
UTC_HOURS = "utc_hours"
SERVED = ("speed", "service_tier", "inference_geo", "region")
"""Dimensions whose value is a fact of the served request."""
DIMENSIONS = (PROMPT_OVER, *SERVED, UTC_HOURS)

NEUTRAL: dict[str, frozenset[str]] = {
    "speed": frozenset(["", "standard"]),
    "service_tier": frozenset(["", "standard", "default", "auto"]),
    "inference_geo": frozenset(["", "global", "not_available"]),
    "region": frozenset([""]),
}
"""Values that need no modifier: the price itself applies."""
MAX_VALUE = 32
"""The longest value that a usage record holds."""
MAX_THRESHOLD = 10**9
MAX_MODIFIERS = 50
"""Modifiers of one price. Each request compares them all."""


class UnknownValue(Exception):
    """A served value that the price has no modifier for: its factor is unknown, and not 1."""

    def __init__(self, dimension: str) -> None:
        super().__init__(dimension)
        self.dimension = dimension


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditions:
    """The facts of a part of a request that modifiers compare."""

    at: datetime
    """The start of the request."""
    prompt_tokens: int = 0
    """Input, cache reads and cache writes."""
    speed: str = ""
    service_tier: str = ""
    inference_geo: str = ""
    region: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Modifier:
    """Two factors in ten-thousandths: of input and cached tokens, and of output tokens."""

    dimension: str
    value: str
    weekdays: str = ""
    input_factor: int
    output_factor: int
    hours: tuple[Minutes, ...] = field(default=(), compare=False, repr=False)
    """Of `utc_hours`: the value, parsed."""
    threshold: int = field(default=0, compare=False, repr=False)
    """Of `prompt_over`: the value, parsed."""

    @classmethod
    def parsed(
        cls, dimension: str, value: str, *, weekdays: str = "", input_factor: int, output_factor: int
    ) -> "Modifier":
        """Return the modifier. Raise ValueError, with a message for users, for an invalid value or weekdays."""
        check_value(dimension, value)
        utc_hours.check_weekdays(weekdays)
        return cls(
            dimension=dimension,
            value=value,
            weekdays=weekdays,
            input_factor=input_factor,
            output_factor=output_factor,
            hours=utc_hours.parse(value) if dimension == UTC_HOURS else (),
            threshold=int(value) if dimension == PROMPT_OVER else 0,
        )

    def factor(self, kind: str) -> int:
        """Return the factor of a kind of tokens."""
        return self.output_factor if kind in OUTPUT_KINDS else self.input_factor


def check_value(dimension: str, value: str) -> None:
    """Raise ValueError, with a message for users, unless the value is one of the dimension."""
    if dimension not in DIMENSIONS:
        raise ValueError(f"Enter one of {', '.join(DIMENSIONS)}.")
    if dimension == UTC_HOURS:
        utc_hours.parse(value)
    elif dimension == PROMPT_OVER:
        if not (
            value.isascii() and value.isdigit() and str(int(value[:20])) == value and 0 < int(value) <= MAX_THRESHOLD
        ):
            raise ValueError("Enter a number of tokens, such as 200000.")
    elif value in NEUTRAL[dimension]:
        shown = f"“{value}” is the price itself. " if value else ""
        raise ValueError(f"{shown}Enter a value that is priced differently, as the upstream reports it.")
    elif len(value) > MAX_VALUE or value != value.strip() or not value.isprintable():
        raise ValueError(f"Enter a value of at most {MAX_VALUE} characters, as the upstream reports it.")


def applying(modifiers: Iterable[Modifier], conditions: Conditions) -> tuple[Modifier, ...]:
    """Return the modifiers that apply: at most one of each dimension. Raise UnknownValue.

    Of several prompt lengths, the longest that the prompt exceeds applies.
    """
    found: dict[str, Modifier] = {}
    for modifier in modifiers:
        if _applies(modifier, conditions):
            other = found.get(modifier.dimension)
            if other is None or other.threshold < modifier.threshold:
                found[modifier.dimension] = modifier
    for dimension in SERVED:
        if dimension not in found and getattr(conditions, dimension) not in NEUTRAL[dimension]:
            raise UnknownValue(dimension)
    return tuple(found[dimension] for dimension in DIMENSIONS if dimension in found)


def _applies(modifier: Modifier, conditions: Conditions) -> bool:
    if modifier.dimension == PROMPT_OVER:
        return conditions.prompt_tokens > modifier.threshold
    if modifier.dimension == UTC_HOURS:
        return utc_hours.contain(modifier.hours, modifier.weekdays, conditions.at)
    return bool(getattr(conditions, modifier.dimension) == modifier.value)


def overlapping_hours(modifiers: Sequence[Modifier]) -> tuple[Modifier, Modifier] | None:
    """Return two modifiers that may both apply by their hours, or None."""
    hours = [each for each in modifiers if each.dimension == UTC_HOURS]
    for first, second in combinations(hours, 2):
        days = set(first.weekdays or utc_hours.EVERY_DAY) & set(second.weekdays or utc_hours.EVERY_DAY)
        if days and utc_hours.overlap([*first.hours, *second.hours]):
            return first, second
    return None
