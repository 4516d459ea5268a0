"""Prices of tokens on bills: what one token of a kind costs on a day, by the same rating as requests."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from keys.bills.causes import Parts
from keys.bills.cells import DIMENSIONS, GROUPS, Cell
from keys.bills.lines import Kind
from keys.bills.own import COST_COLUMNS, TOKEN_COLUMNS, begin_of
from keys.pricing import rating
from keys.pricing.price_book import PriceBook

NOON = timedelta(hours=12)
LONG_PROMPT = 10**7
"""Tokens beyond the threshold of any price by prompt length."""


@dataclass(slots=True)
class UnitPrices:
    upstream: str
    book: PriceBook
    region: str = ""
    names: dict[str, str] = field(default_factory=dict)
    """The model as records name it, by the model of cells."""
    _known: dict[Any, int | None] = field(default_factory=dict)

    def of(self, kind: str, cell: Cell, *, is_long: bool = False) -> int | None:
        """Return the pico-dollars of one token, or None for an unpriced one."""
        key = (kind, cell, is_long)
        if key not in self._known:
            self._known[key] = self._rated(kind, cell, LONG_PROMPT if is_long else 1)
        return self._known[key]

    def _rated(self, kind: str, cell: Cell, count: int) -> int | None:
        model = self.names.get(cell.model, cell.model)
        row = {
            "created_at": begin_of(cell.day) + NOON,
            "upstream": self.upstream,
            "upstream_model": model,
            "served_model": model,
            "region": self.region,
            TOKEN_COLUMNS[Kind(kind)]: count,
            **{name: getattr(cell, name) for name in DIMENSIONS},
        }
        if count > 1 and kind == "output":
            row["input_tokens"] = count
        lines = rating.rate(row, self.book).lines
        found = [line.picos // line.tokens for line in lines if line.kind == kind and line.tokens]
        return found[0] if found else None

    def parts(self, tokens: Mapping[str, int], cell: Cell, *, is_long: bool = False) -> Parts | None:
        """Return what tokens of a cell cost by part, or None if any is unpriced."""
        found: Parts = {}
        for kind, count in tokens.items():
            price = self.of(kind, cell, is_long=is_long)
            if price is None:
                return None
            key = cell.day, cell.model, GROUPS[Kind(kind)]
            found[key] = found.get(key, 0) + count * price
        return found

    def rerated(self, row: Mapping[str, Any], changes: Mapping[str, Any], cell: Cell) -> Parts | None:
        """Return what other facts add to the recorded cost of a request, or None if it is unpriced."""
        rated = rating.rate({**row, **changes}, self.book)
        if rated.cost_usd_picos is None or row["cost_usd_picos"] is None:
            return None
        return {
            (cell.day, cell.model, group): (rated.parts[column] or 0) - (row[column] or 0)
            for group, column in COST_COLUMNS.items()
        }
