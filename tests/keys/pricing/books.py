"""A price book without a database, and rows of usage records to rate."""

from datetime import UTC, datetime
from typing import Any

from keys.domain.prices import Price
from keys.pricing.price_book import PriceBook

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
"""A Friday."""
START = datetime(2026, 1, 1, tzinfo=UTC)


def price(**fields: Any) -> Price:
    """Return a price of the model `m`, valid since the beginning of the year."""
    return Price(
        **{"id": 1, "model_pattern": "m", "valid_from": START, "input": 2_000_000, "output": 10_000_000, **fields}
    )


def book(*prices: Price, factors: dict[str, int] | None = None) -> PriceBook:
    """Return a price book. Factors are in ten-thousandths, by upstream."""
    rows: dict[str, list[Price]] = {}
    for each in prices:
        rows.setdefault(each.model_pattern, []).append(each)
    return PriceBook(rows, {upstream: [(START, factor)] for upstream, factor in (factors or {}).items()})


def row(**columns: Any) -> dict[str, Any]:
    """Return the columns of a usage record of the model `m` at the upstream `u`."""
    known = {"created_at": NOON, "upstream": "u", "upstream_model": "m", "usage_source": "reported"}
    return {**known, **columns}
