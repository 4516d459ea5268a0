"""Price book: prices of models with their modifiers, and negotiated factors, cached for CONFIG_CACHE_TTL_S."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from keys.domain import factors
from keys.domain.prices import Price
from keys.errors import LedgerUnavailable
from keys.models import ModelPrice, NegotiatedFactor, PriceModifier
from keys.pricing.model_names import undated
from lib import model_patterns
from lib.cached import SingleFlightCache

logger = logging.getLogger(__name__)

MAX_RANKED = 2_000
"""Models at upstreams whose prices a price book remembers. Clients and upstreams choose the names."""
MAX_MODEL_LENGTH = 256


@dataclass(frozen=True, slots=True)
class PriceBook:
    """All prices by model pattern, and the negotiated factors by upstream with their start, the latest first."""

    rows: dict[str, list[Price]]
    factors: dict[str, list[tuple[datetime, int]]] = field(default_factory=dict)
    _ranked: dict[tuple[str, str, str], list[Price]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """The prices that were found before, by model, upstream and alias."""

    def find(self, model: str, *, upstream: str, at: datetime, alias: str = "") -> Price | None:
        """Return the price of a model at an upstream, or None for an unpriced model.

        A price for this upstream takes precedence over one for any, then the exact name over another name of the same
        model, which is `alias` or the name without its date, over the longest prefix, then the latest.
        """
        found = self._ranked.get((model, upstream, alias))
        if found is None:
            found = self._rank(model, upstream=upstream, alias=alias or undated(model))
            if len(self._ranked) < MAX_RANKED and len(model) <= MAX_MODEL_LENGTH:
                self._ranked[model, upstream, alias] = found
        for price in found:
            if price.valid_from is not None and price.valid_from <= at:
                return price
        return None

    def _rank(self, model: str, *, upstream: str, alias: str) -> list[Price]:
        """Return the prices of a model at an upstream, at any time: each takes precedence over those after it."""
        found = [
            price
            for pattern in {*model_patterns.covering(model), alias}
            for price in self.rows.get(pattern, ())
            if price.upstream in ("", upstream) and price.valid_from is not None
        ]
        return sorted(
            found,
            key=lambda price: (
                price.upstream == upstream != "",
                price.model_pattern == model,
                price.model_pattern == alias,
                len(price.model_pattern),
                price.valid_from,
            ),
            reverse=True,
        )

    def price_factor(self, upstream: str, *, at: datetime) -> int | None:
        """Return the factor that was negotiated with an upstream, in ten-thousandths. None: no factor."""
        return next((factor for since, factor in self.factors.get(upstream, ()) if since <= at), None)


def price_of(row: ModelPrice, modifiers: Iterable[PriceModifier]) -> Price:
    """Return the price of a row. It is not valid if a modifier was saved without validation."""
    try:
        return row.rates(modifier.parsed() for modifier in modifiers)
    except ValueError as error:
        logger.error("Price %s (%s) has an invalid modifier: %s", row.pk, row, error)
        return replace(row.rates(), is_valid=False)


def load() -> PriceBook:
    """Read the price book from the database. Three queries."""
    rows: dict[str, list[Price]] = {}
    for row in ModelPrice.objects.order_by("model_pattern", "-valid_from").prefetch_related("modifiers"):
        rows.setdefault(row.model_pattern, []).append(price_of(row, row.modifiers.all()))
    negotiated: dict[str, list[tuple[datetime, int]]] = {}
    for factor in NegotiatedFactor.objects.order_by("-valid_from"):
        known = negotiated.setdefault(factor.upstream, [])
        known.append((factor.valid_from, factors.from_decimal(factor.factor)))
    return PriceBook(rows, negotiated)


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
