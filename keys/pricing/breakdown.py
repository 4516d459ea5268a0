"""Cost breakdown of a request: tokens times price by kind, exact until it is rounded once at the end."""

from dataclasses import dataclass

from keys.models import ModelPrice, UsageRecord
from keys.pricing import rating

KINDS = {
    "input": "Input",
    "output": "Output",
    "cache_read": "Cache read",
    "cache_write_5m": "Cache write, 5 minutes",
    "cache_write_1h": "Cache write, 1 hour",
}
"""Kinds of tokens that have a price, with their labels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CostLine:
    """The tokens of one kind times their price."""

    kind: str
    tokens: int
    price: int
    """Micro-dollars per million tokens."""

    @property
    def millionths(self) -> int:
        """The cost in millionths of a micro-dollar."""
        return self.tokens * self.price


@dataclass(frozen=True, kw_only=True, slots=True)
class CostBreakdown:
    lines: list[CostLine]
    """One for each kind of which there were tokens."""
    cost: int
    """The recorded cost in micro-dollars."""

    @property
    def millionths(self) -> int:
        return sum(line.millionths for line in self.lines)

    @property
    def is_rounded(self) -> bool:
        return self.millionths != self.cost * rating.TOKENS_PER_PRICE

    @property
    def adds_up(self) -> bool:
        """False if the price was changed in the database after the request was rated."""
        return rating.rounded(self.millionths) == self.cost


def _price_of(price: ModelPrice, kind: str) -> int:
    own: int | None = getattr(price, f"{kind}_price")
    return price.input_price if own is None else own


def cost_breakdown(record: UsageRecord) -> CostBreakdown | None:
    """Return None if there is nothing to multiply: the request is unpriced or free, or used no tokens."""
    price, cost = record.price, record.cost_usd_micros
    if price is None or cost is None or price.is_free:
        return None
    counts = {kind: getattr(record, f"{kind}_tokens") or 0 for kind in KINDS}
    lines = [
        CostLine(kind=KINDS[kind], tokens=tokens, price=_price_of(price, kind))
        for kind, tokens in counts.items()
        if tokens
    ]
    return CostBreakdown(lines=lines, cost=cost) if lines else None
