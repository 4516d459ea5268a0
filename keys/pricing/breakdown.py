"""Cost breakdown of a request: tokens times price by kind, in pico-dollars, which add up without rounding."""

from dataclasses import dataclass

from keys.models import ModelPrice, UsageRecord

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
    def picos(self) -> int:
        """The cost in pico-dollars."""
        return self.tokens * self.price


@dataclass(frozen=True, kw_only=True, slots=True)
class CostBreakdown:
    lines: list[CostLine]
    """One for each kind of which there were tokens."""
    cost: int
    """The recorded cost in pico-dollars."""

    @property
    def picos(self) -> int:
        return sum(line.picos for line in self.lines)

    @property
    def adds_up(self) -> bool:
        """False if the price was changed in the database after the request was rated."""
        return self.picos == self.cost


def _price_of(price: ModelPrice, kind: str) -> int:
    own: int | None = getattr(price, f"{kind}_price")
    return price.input_price if own is None else own


def cost_breakdown(record: UsageRecord) -> CostBreakdown | None:
    """Return None if there is nothing to multiply: the request is unpriced or free, or used no tokens."""
    price, cost = record.price, record.cost_usd_picos
    if price is None or cost is None or price.is_free:
        return None
    counts = {kind: getattr(record, f"{kind}_tokens") or 0 for kind in KINDS}
    lines = [
        CostLine(kind=KINDS[kind], tokens=tokens, price=_price_of(price, kind))
        for kind, tokens in counts.items()
        if tokens
    ]
    return CostBreakdown(lines=lines, cost=cost) if lines else None
