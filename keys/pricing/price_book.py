"""Price book: the prices of models, cached in each process for CONFIG_CACHE_TTL_S."""

from dataclasses import dataclass
from datetime import datetime

from keys.errors import LedgerUnavailable
from keys.models import ModelPrice
from keys.pricing.rating import Price
from lib import model_patterns
from lib.cached import SingleFlightCache


@dataclass(frozen=True, slots=True)
class PriceBook:
    """All prices by model pattern, the latest of each pattern first."""

    rows: dict[str, list[ModelPrice]]

    def find(self, model: str, *, upstream: str, at: datetime) -> Price | None:
        """Return the price of a model at an upstream, or None for an unpriced model.

        A price for this upstream takes precedence over one for any, then an exact name over the longest prefix, then
        the latest.
        """
        matching = [pattern for pattern in self.rows if model_patterns.covers(pattern, model)]
        found = [row for pattern in matching for row in self.rows[pattern] if row.valid_from <= at]
        best = max(
            (row for row in found if row.upstream in ("", upstream)),
            key=lambda row: (
                row.upstream == upstream != "",
                row.model_pattern == model,
                len(row.model_pattern),
                row.valid_from,
            ),
            default=None,
        )
        return None if best is None else _price(best)


def _price(row: ModelPrice) -> Price:
    return Price(
        id=row.pk,
        input=row.input_price,
        output=row.output_price,
        cache_read=_or_input(row.cache_read_price, row),
        cache_write_5m=_or_input(row.cache_write_5m_price, row),
        cache_write_1h=_or_input(row.cache_write_1h_price, row),
        max_output_tokens=row.max_output_tokens,
    )


def _or_input(price: int | None, row: ModelPrice) -> int:
    """Return a price, or the input price where the row has none: such tokens are billed as input, not free."""
    return row.input_price if price is None else price


def load() -> PriceBook:
    """Read the price book from the database. One query."""
    rows: dict[str, list[ModelPrice]] = {}
    for row in ModelPrice.objects.order_by("model_pattern", "-valid_from"):
        rows.setdefault(row.model_pattern, []).append(row)
    return PriceBook(rows)


class PriceCache(SingleFlightCache[PriceBook]):
    """The price book of this process."""

    def book(self) -> PriceBook:
        """Return the price book, or the last one read while the database is unavailable.

        Raise LedgerUnavailable if it was never read.
        """
        book = self.get()
        if book is None:
            raise LedgerUnavailable
        return book

    @property
    def last_known(self) -> PriceBook:
        """The price book that was read last, without a query, because settling a request must not wait."""
        return self.last or PriceBook({})


prices = PriceCache(load)
