"""Rating: the exact cost of a request in pico-dollars, line by line. Pure.

A pure function of the columns of a usage record and of the price book: the same at settlement, in re-rating and on the
page of a request. Tokens times micro-dollars per million tokens are pico-dollars, so no amount is rounded.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from keys.domain import factors, price_kinds, prices
from keys.domain.price_modifiers import SERVED, Conditions, Modifier, UnknownValue, applying
from keys.domain.prices import FractionalRate, Price
from keys.pricing import parts, reasons, refusals
from keys.pricing.part_prices import PartPrices, Prices
from keys.pricing.parts import Part
from lib import money

NO_USAGE = "none"
"""The usage source of requests that no upstream received."""
MAX_COST = 2**63 - 1

COST_COLUMNS = {
    price_kinds.INPUT: "input_cost_usd_picos",
    price_kinds.AUDIO_INPUT: "input_cost_usd_picos",
    price_kinds.OUTPUT: "output_cost_usd_picos",
    price_kinds.AUDIO_OUTPUT: "output_cost_usd_picos",
    price_kinds.CACHE_READ: "cache_read_cost_usd_picos",
    price_kinds.CACHE_WRITE_5M: "cache_write_cost_usd_picos",
    price_kinds.CACHE_WRITE_1H: "cache_write_cost_usd_picos",
    price_kinds.WEB_SEARCH: "item_cost_usd_picos",
}
"""The column of the record that a kind is added to."""
CACHE_SAVINGS = "cache_savings_usd_picos"
PART_COLUMNS = (*dict.fromkeys(COST_COLUMNS.values()), CACHE_SAVINGS)


@dataclass(frozen=True, kw_only=True, slots=True)
class CostLine:
    """The tokens of one kind in one part, times their effective rate."""

    part: Part
    model: str
    """The model whose price applies."""
    kind: str
    tokens: int
    """Or searches."""
    price: int
    """Micro-dollars per million, without factors. 0 if nothing is billed."""
    rate: int
    """Micro-dollars per million, times all factors."""
    is_billed: bool = True
    reason: str = ""
    """Why it is not billed."""
    modifiers: tuple[Modifier, ...] = ()
    input_rate: int = field(default=0, repr=False)
    """The effective rate of input, with which cache savings are compared."""

    @property
    def picos(self) -> int:
        return self.tokens * self.rate if self.is_billed else 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Rating:
    lines: tuple[CostLine, ...] = ()
    cost_usd_picos: int | None = None
    """None: unpriced."""
    price_id: int | None = None
    """The price of the served model."""
    other_prices: dict[str, int] | None = None
    """Prices of the parts by other models: IDs by model."""
    price_factor: Decimal | None = None
    """Negotiated with the upstream. None: no factor."""
    unpriced_reason: str = ""

    @property
    def columns(self) -> dict[str, Any]:
        """All columns of the record that rating decides."""
        return {
            "cost_usd_picos": self.cost_usd_picos,
            **self.parts,
            "unpriced_reason": self.unpriced_reason,
            "price_id": self.price_id,
            "other_prices": self.other_prices,
            "price_factor": self.price_factor,
        }

    @property
    def parts(self) -> dict[str, int | None]:
        """The parts of the cost by column, and what the cache saved: negative where writes cost more than reads saved.

        All are None for an unpriced request. Without the savings, they add up to the cost.
        """
        if self.cost_usd_picos is None:
            return dict.fromkeys(PART_COLUMNS)
        found: dict[str, int | None] = dict.fromkeys(PART_COLUMNS, 0)
        for line in self.lines:
            found[COST_COLUMNS[line.kind]] = (found[COST_COLUMNS[line.kind]] or 0) + line.picos
        found[CACHE_SAVINGS] = sum(
            line.tokens * (line.input_rate - line.rate)
            for line in self.lines
            if line.is_billed and line.kind in price_kinds.CACHE_KINDS
        )
        return found


def rate(row: Mapping[str, Any], book: Prices) -> Rating:
    """Return the cost of a request from the columns of its usage record; 0 where no upstream was contacted.

    A request is unpriced, with a reason, where the cost of any part is unknown.
    """
    if row.get("usage_source") == NO_USAGE:
        return Rating(cost_usd_picos=0)
    try:
        return _Rater(row, book).rating()
    except _Unpriced as error:
        return Rating(unpriced_reason=error.reason)


class _Unpriced(Exception):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Rater:
    """Rating of one request."""

    def __init__(self, row: Mapping[str, Any], book: Prices) -> None:
        self._row = row
        self._at: datetime = row["created_at"]
        self._prices = PartPrices(row, book)
        self._factor = book.price_factor(row.get("upstream") or "", at=self._at)

    def rating(self) -> Rating:
        try:
            found = parts.of(self._row)
        except parts.AudioInIterations:
            raise _Unpriced(reasons.AUDIO_IN_ITERATIONS) from None
        lines = [line for part in found for line in self._lines(part)]
        lines += self._items(found)
        cost = sum(line.picos for line in lines)
        if cost > MAX_COST:
            raise _Unpriced(reasons.COST_TOO_LARGE)
        price_id, others = self._prices.ids()
        return Rating(
            lines=tuple(lines),
            cost_usd_picos=cost,
            price_id=price_id,
            other_prices=others or None,
            price_factor=None if self._factor is None else factors.to_decimal(self._factor),
        )

    def _lines(self, part: Part) -> list[CostLine]:
        """Return the lines of a part, one for each kind of which there are tokens."""
        price = self._prices.price(part)
        if price is not None and price.is_free:
            return self._unbilled(part, price, reasons.FREE)
        if part.refusal_category and not self._bills_refusal(part.refusal_category):
            return self._unbilled(part, price or Price(), reasons.REFUSED)
        if price is None:
            raise _Unpriced(reasons.NO_PRICE)
        if not price.is_valid:
            raise _Unpriced(reasons.INVALID_PRICE)
        modifiers = self._applying(part, price)
        input_rate = self._rate(price, price_kinds.INPUT, modifiers)
        return [
            CostLine(
                part=part,
                model=self._prices.model(part),
                kind=kind,
                tokens=tokens,
                price=price.rate(kind),
                rate=input_rate if kind == price_kinds.INPUT else self._rate(price, kind, modifiers),
                modifiers=modifiers,
                input_rate=input_rate,
            )
            for kind, tokens in part.tokens.items()
            if tokens
        ]

    def _unbilled(self, part: Part, price: Price, reason: str) -> list[CostLine]:
        return [
            CostLine(
                part=part,
                model=self._prices.model(part),
                kind=kind,
                tokens=tokens,
                price=price.rate(kind),
                rate=price.rate(kind),
                is_billed=False,
                reason=reason,
            )
            for kind, tokens in part.tokens.items()
            if tokens
        ]

    def _items(self, found: list[Part]) -> list[CostLine]:
        """Return the line of web searches, at the price of the served model. No modifier applies to it."""
        searches = self._row.get("web_searches") or 0
        if not searches:
            return []
        part = next((part for part in reversed(found) if part.type in parts.SERVING), found[-1])
        price = self._prices.price(part)
        if price is not None and price.is_free:
            return [self._search_line(part, searches, 0, reason=reasons.FREE)]
        if part.refusal_category and not self._bills_refusal(part.refusal_category):
            return [self._search_line(part, searches, 0, reason=reasons.REFUSED)]
        if price is None or price.web_search is None:
            raise _Unpriced(reasons.NO_WEB_SEARCH_PRICE)
        return [self._search_line(part, searches, money.picos(price.web_search))]

    def _search_line(self, part: Part, searches: int, price: int, *, reason: str = "") -> CostLine:
        return CostLine(
            part=part,
            model=self._prices.model(part),
            kind=price_kinds.WEB_SEARCH,
            tokens=searches,
            price=price,
            rate=self._times(price, []),
            is_billed=not reason,
            reason=reason,
        )

    def _bills_refusal(self, category: str) -> bool:
        try:
            return refusals.is_billed(category, at=self._at)
        except refusals.UnknownCategory:
            raise _Unpriced(reasons.UNKNOWN_REFUSAL_CATEGORY) from None

    def _applying(self, part: Part, price: Price) -> tuple[Modifier, ...]:
        facts = {name: str(self._row.get(name) or "") for name in SERVED}
        conditions = Conditions(at=self._at, prompt_tokens=part.prompt_tokens, **facts)
        try:
            return applying(price.modifiers, conditions)
        except UnknownValue as error:
            raise _Unpriced(reasons.UNKNOWN.format(error.dimension)) from None

    def _rate(self, price: Price, kind: str, modifiers: Iterable[Modifier]) -> int:
        return self._times(price.rate(kind), [each.factor(kind) for each in modifiers])

    def _times(self, rate: int, applied: Iterable[int]) -> int:
        """Return a rate times the factors of modifiers and the negotiated factor."""
        try:
            return prices.times(rate, [*applied, factors.ONE if self._factor is None else self._factor])
        except FractionalRate:
            raise _Unpriced(reasons.FRACTIONAL_RATE) from None
