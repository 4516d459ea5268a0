"""Checks of a price with its modifiers: which combination has no effective rate in whole micro-dollars. Pure."""

from collections.abc import Iterable
from datetime import datetime

from keys.domain.factors import ONE
from keys.domain.price_kinds import TOKEN_KINDS
from keys.domain.price_modifiers import Modifier
from keys.domain.prices import Price

Period = tuple[datetime, datetime | None]
"""Beginning and end. None: it does not end."""


def fractional_combination(price: Price, *, price_factor: int = ONE) -> tuple[str, tuple[Modifier, ...]] | None:
    """Return a kind of tokens and modifiers whose effective rate is not whole, or None.

    At most one modifier of each dimension applies. A product is whole if it has no 2 and no 5 in its denominator, so
    the modifiers with the most of either decide, and not all combinations have to be multiplied.
    """
    for kind in TOKEN_KINDS:
        for prime in (2, 5) if price.rate(kind) else ():
            worst: dict[str, tuple[int, Modifier]] = {}
            for modifier in price.modifiers:
                exponent = _exponent(modifier.factor(kind), ONE, prime)
                if exponent < worst.get(modifier.dimension, (0, modifier))[0]:
                    worst[modifier.dimension] = exponent, modifier
            total = _exponent(price.rate(kind), 1, prime) + _exponent(price_factor, ONE, prime)
            if total + sum(exponent for exponent, _ in worst.values()) < 0:
                return kind, tuple(modifier for _, modifier in worst.values())
    return None


def _exponent(numerator: int, denominator: int, prime: int) -> int:
    """Return how often a prime divides a fraction; less than 0 where it divides the denominator more often."""
    return _divides(numerator, prime) - _divides(denominator, prime)


def _divides(number: int, prime: int) -> int:
    count = 0
    while number % prime == 0:
        number, count = number // prime, count + 1
    return count


def periods(starts: Iterable[datetime]) -> dict[datetime, Period]:
    """Return the period of each version by its start: it ends when the next begins."""
    ordered = sorted(set(starts))
    return dict(zip(ordered, zip(ordered, [*ordered[1:], None], strict=True), strict=True))


def intersect(first: Period, second: Period) -> bool:
    """Return whether two periods have a moment in common."""
    return (first[1] is None or second[0] < first[1]) and (second[1] is None or first[0] < second[1])
