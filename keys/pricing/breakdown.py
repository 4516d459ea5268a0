"""How the cost of a call comes about, to be checked by hand: exact until it is rounded, once, at the end."""

from dataclasses import dataclass

from keys.models import UsageRecord
from keys.pricing import rating

KINDS = {
    "input": "Input",
    "output": "Output",
    "cache_read": "Cache read",
    "cache_write_5m": "Cache write, 5 minutes",
    "cache_write_1h": "Cache write, 1 hour",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """The tokens of one kind times their price."""

    kind: str
    tokens: int
    price: int
    """Micro-dollars per million tokens."""

    @property
    def millionths(self) -> int:
        """Of a micro-dollar."""
        return self.tokens * self.price


@dataclass(frozen=True, kw_only=True, slots=True)
class CostBreakdown:
    lines: list[Line]
    """Of the kinds of which there were tokens."""
    cost: int
    """Micro-dollars, as the call was rated."""

    @property
    def millionths(self) -> int:
        return sum(line.millionths for line in self.lines)

    @property
    def is_rounded(self) -> bool:
        return self.millionths != self.cost * rating.PER_TOKENS

    @property
    def adds_up(self) -> bool:
        """False where somebody changed the price behind the gateway's back."""
        return rating.rounded(self.millionths) == self.cost


def of(record: UsageRecord) -> CostBreakdown | None:
    """None where nothing is multiplied: the call has no cost, its price is marked as free, or it used no tokens."""
    price, cost = record.price, record.cost_usd_micros
    if price is None or cost is None or price.is_free:
        return None
    counts = {kind: getattr(record, f"{kind}_tokens") or 0 for kind in KINDS}
    lines = [
        Line(kind=KINDS[kind], tokens=tokens, price=getattr(price, f"{kind}_price"))
        for kind, tokens in counts.items()
        if tokens
    ]
    return CostBreakdown(lines=lines, cost=cost) if lines else None
