"""The prices that a usage record names, instead of today's: the arithmetic of its page repeats the settlement."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from keys.domain import factors
from keys.domain.prices import Price
from keys.models import ModelPrice, UsageRecord
from keys.pricing.price_book import price_of


@dataclass(frozen=True, slots=True)
class RecordedPrices:
    """The prices of one record. Has the methods that rating needs of a price book."""

    price: Price | None
    """Of the served model."""
    others: Mapping[str, Price] = field(default_factory=dict)
    """Of the parts by other models, by model."""
    factor: int | None = None
    """Negotiated with the upstream, in ten-thousandths."""

    def find(self, model: str, *, upstream: str, at: datetime, alias: str = "") -> Price | None:
        return self.others.get(model, self.price)

    def price_factor(self, upstream: str, *, at: datetime) -> int | None:
        return self.factor


def recorded_prices(record: UsageRecord) -> RecordedPrices:
    """Read the prices of a record, with their modifiers. Two queries."""
    others: dict[str, Any] = record.other_prices or {}
    ids = {id for id in (record.price_id, *others.values()) if isinstance(id, int)}
    rows = ModelPrice.objects.prefetch_related("modifiers").filter(pk__in=ids)
    prices = {row.pk: price_of(row, row.modifiers.all()) for row in rows}
    return RecordedPrices(
        None if record.price_id is None else prices.get(record.price_id),
        {model: prices[id] for model, id in others.items() if id in prices},
        None if record.price_factor is None else factors.from_decimal(record.price_factor),
    )
