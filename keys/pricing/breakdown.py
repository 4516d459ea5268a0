"""Cost breakdown of a request: its rating, line by line, at the prices that its record names. Adds up exactly."""

from collections.abc import Iterator
from dataclasses import dataclass

from keys.domain import factors, price_kinds
from keys.models import PriceModifier, UsageRecord
from keys.pricing import rating, reasons
from keys.pricing.rating import CostLine, Rating
from keys.pricing.recorded_prices import recorded_prices
from lib import money

PARTS = {
    "message": "Message",
    "compaction": "Compaction",
    "advisor_message": "Advisor",
    "fallback_message": "Fallback",
}
DIMENSIONS = dict(PriceModifier.Dimension.choices)


@dataclass(frozen=True, kw_only=True, slots=True)
class BreakdownLine:
    """A line of the breakdown, in words."""

    part: str
    """Empty if the request has one part."""
    kind: str
    tokens: int
    price: int
    """Micro-dollars per million tokens, or per web search."""
    factors: list[str]
    rate: int
    """Price times factors."""
    picos: int
    reason: str
    """Why it is not billed."""
    is_item: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class CostBreakdown:
    lines: list[BreakdownLine]
    """One for each part and kind of which there were tokens."""
    cost: int
    """The recorded cost in pico-dollars."""
    rated: int | None
    """The cost at the recorded prices as they are in the database now."""

    @property
    def has_parts(self) -> bool:
        return any(line.part for line in self.lines)

    @property
    def adds_up(self) -> bool:
        """False if a price or the record was changed in the database after the request was rated."""
        return self.rated == self.cost


def cost_breakdown(record: UsageRecord) -> CostBreakdown | None:
    """Return None if there is nothing to multiply: the request is unpriced or free, or used no tokens. Two queries."""
    if record.cost_usd_picos is None or record.usage_source == rating.NO_USAGE:
        return None
    columns = {column.attname: getattr(record, column.attname) for column in record._meta.concrete_fields}
    found = rating.rate(columns, recorded_prices(record))
    if found.cost_usd_picos is not None and all(line.reason == reasons.FREE for line in found.lines):
        return None
    return CostBreakdown(
        lines=list(_lines(found)),
        cost=record.cost_usd_picos,
        rated=found.cost_usd_picos,
    )


def _lines(found: Rating) -> Iterator[BreakdownLine]:
    several = len({line.part.number for line in found.lines}) > 1
    for line in found.lines:
        is_item = line.kind == price_kinds.WEB_SEARCH
        unit = money.PICOS_PER_MICRO if is_item else 1
        yield BreakdownLine(
            part=_part(line) if several else "",
            kind=price_kinds.LABELS[line.kind],
            tokens=line.tokens,
            price=line.price // unit,
            factors=list(_factors(line, found)),
            rate=line.rate // unit,
            picos=line.picos,
            reason=reasons.UNBILLED.get(line.reason, line.reason),
            is_item=is_item,
        )


def _part(line: CostLine) -> str:
    return f"{line.part.number}. {PARTS.get(line.part.type, line.part.type)} ({line.model})"


def _factors(line: CostLine, found: Rating) -> Iterator[str]:
    """Yield the factors of a line in words."""
    if not line.is_billed:
        return
    for modifier in line.modifiers:
        factor = factors.text(modifier.factor(line.kind))
        yield f"{factor} {DIMENSIONS.get(modifier.dimension, modifier.dimension)} {modifier.value}"
    if found.price_factor is not None:
        yield f"{factors.text(factors.from_decimal(found.price_factor))} negotiated"
