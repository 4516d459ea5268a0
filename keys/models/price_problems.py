"""Problems of prices, modifiers and negotiated factors, in the words of a form: the field, and what to enter."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.core.exceptions import ValidationError

from keys.domain import factors
from keys.domain.price_modifiers import Modifier

WHOLE = "Prices times factors may have at most six decimals of a dollar per million tokens."


@dataclass(frozen=True, kw_only=True, slots=True)
class PriceProblem:
    """What is wrong with a price and its modifiers together, and what to enter."""

    modifier: Any
    """The modifier at fault. None: the price itself, or the negotiated factor."""
    field: str
    message: str


def validate_factor(value: Decimal) -> None:
    """Raise ValidationError unless a factor is positive and exact in ten-thousandths."""
    try:
        factors.from_decimal(value)
    except ValueError as error:
        raise ValidationError(str(error)) from None


def raise_problems(problems: Iterable[PriceProblem]) -> None:
    """Raise a ValidationError with the messages of the problems by field, if there are any."""
    errors: dict[str, list[str]] = {}
    for problem in problems:
        prefix = f"{problem.modifier}: " if problem.modifier else ""
        errors.setdefault(problem.field, []).append(prefix + problem.message)
    if errors:
        raise ValidationError(errors)


def not_whole(name: str, kind: str, modifiers: Sequence[Modifier]) -> str:
    applied = " and ".join(f"{each.dimension} {each.value}" for each in modifiers)
    return (
        f"{WHOLE} That of {kind.replace('_', ' ')} has more: {name}"
        f"{f' with {applied}' if applied else ''}. Enter a factor or a price with fewer decimals."
    )
