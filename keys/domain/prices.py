"""The price of a model: its rate per kind, and effective rates with modifiers, exact. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from keys.domain.factors import ONE
from keys.domain.price_kinds import INPUT, OUTPUT, OUTPUT_KINDS
from keys.domain.price_modifiers import Modifier


class FractionalRate(Exception):
    """The effective rate is not a whole number of micro-dollars per million tokens."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Price:
    """Micro-dollars per million tokens, by kind. None: the rate of the kind that contains it. All are 0 if free."""

    id: int | None = None
    model_pattern: str = ""
    upstream: str = ""
    """Empty: any upstream."""
    valid_from: datetime | None = None
    input: int = 0
    output: int = 0
    cache_read: int | None = None
    cache_write_5m: int | None = None
    cache_write_1h: int | None = None
    audio_input: int | None = None
    audio_output: int | None = None
    web_search: int | None = None
    """Micro-dollars per search. None: unknown."""
    is_free: bool = False
    writes_cache_implicitly: bool = False
    max_output_tokens: int | None = None
    """Maximum output tokens of the model, if known."""
    modifiers: tuple[Modifier, ...] = ()
    is_valid: bool = True
    """False if a modifier cannot be read: requests are unpriced, and do not fall back to an older price."""

    def rate(self, kind: str) -> int:
        """Return the rate of a kind of tokens without modifiers."""
        rate: int = getattr(self, self.own_rate(kind))
        return rate

    def own_rate(self, kind: str) -> str:
        """Return the kind whose rate applies to a kind of tokens: its own, or that of the kind that contains it."""
        if getattr(self, kind) is not None:
            return kind
        return OUTPUT if kind in OUTPUT_KINDS else INPUT


def times(rate: int, factors: Iterable[int]) -> int:
    """Return a rate times factors in ten-thousandths. Raise FractionalRate if the product is not whole."""
    product, unit = rate, 1
    for factor in factors:
        if factor != ONE:
            product, unit = product * factor, unit * ONE
    whole, rest = divmod(product, unit)
    if rest:
        raise FractionalRate
    return whole
