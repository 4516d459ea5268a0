"""The prices of the parts of one request, and which of them the record names. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from keys.domain.prices import Price
from keys.pricing.model_names import is_same_model
from keys.pricing.parts import Part


class Prices(Protocol):
    """Where rating finds prices: the price book, or the prices that a record names."""

    def find(self, model: str, *, upstream: str, at: datetime, alias: str = "") -> Price | None:
        """Return the price of a model. `alias` is another name of the same model."""

    def price_factor(self, upstream: str, *, at: datetime) -> int | None:
        """Return the factor that was negotiated with an upstream, in ten-thousandths."""


class PartPrices:
    """The prices of the parts of one request, each looked up once."""

    def __init__(self, row: Mapping[str, Any], book: Prices) -> None:
        self._book = book
        self._at: datetime = row["created_at"]
        self._upstream: str = row.get("upstream") or ""
        self._upstream_model: str = row.get("upstream_model") or ""
        self._model: str = row.get("served_model") or self._upstream_model
        self._found: dict[str, Price | None] = {}
        """By the model that a part names."""

    def model(self, part: Part) -> str:
        """Return the model whose price a part has."""
        return part.model or self._model

    def price(self, part: Part) -> Price | None:
        """Return the price of a part.

        The served model's, by its own name or as a dated ID of an alias; without one, that of the upstream model. A
        part that names its model has the price of that model alone.
        """
        if part.model not in self._found:
            price = self._find(self.model(part))
            if price is None and not part.model:
                price = self._find(self._upstream_model)
            self._found[part.model] = price
        return self._found[part.model]

    def _find(self, model: str) -> Price | None:
        names = (self._model, self._upstream_model)
        alias = next((name for name in names if name != model and is_same_model(name, model)), "")
        return self._book.find(model, upstream=self._upstream, at=self._at, alias=alias)

    def ids(self) -> tuple[int | None, dict[str, int]]:
        """Return the ID of the served model's price, and those of other models by model."""
        found = {model or self._model: price.id for model, price in self._found.items() if price is not None}
        price_id = found.get(self._model, next(iter(found.values()), None))
        return price_id, {model: id for model, id in found.items() if id is not None and id != price_id}
