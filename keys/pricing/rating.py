"""Rating: the exact cost of a request in pico-dollars, line by line. Pure.

A pure function of the columns of a usage record and of the price book: the same at settlement, in re-rating and on the
page of a request. Tokens times micro-dollars per million tokens are pico-dollars, so no amount is rounded.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

from keys.domain import factors, price_kinds, prices
from keys.domain.price_modifiers import SERVED, Conditions, Modifier, UnknownValue, applying
from keys.domain.prices import FractionalRate, Price
from keys.pricing import parts, refusals
from keys.pricing.model_names import is_same_model
from keys.pricing.parts import Part
from lib import money

NO_USAGE = "none"
"""The usage source of requests that no upstream received."""
MAX_COST = 2**63 - 1

NO_PRICE = "no_price"
INVALID_PRICE = "invalid_price"
"""A modifier of the price was saved without validation."""
NO_WEB_SEARCH_PRICE = "no_web_search_price"
UNKNOWN = "unknown_{}"
"""For each dimension: the price has no modifier for the served value."""
UNKNOWN_REFUSAL_CATEGORY = "unknown_refusal_category"
AUDIO_IN_ITERATIONS = "audio_in_iterations"
FRACTIONAL_RATE = "fractional_rate"
COST_TOO_LARGE = "cost_too_large"

REFUSED = "refused_before_output"
FREE = "free"
"""Reasons of lines that are not billed."""

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


class Prices(Protocol):
    """Where rating finds prices: the price book, or the prices that a record names."""

    def find(self, model: str, *, upstream: str, at: datetime, alias: str = "") -> Price | None:
        """Return the price of a model. `alias` is another name of the same model."""

    def price_factor(self, upstream: str, *, at: datetime) -> int | None:
        """Return the factor that was negotiated with an upstream, in ten-thousandths."""


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
    """Micro-dollars per million, without factors. 0 if nothing is billed and no price is known."""
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
        self._book = book
        self._at: datetime = row["created_at"]
        self._upstream: str = row.get("upstream") or ""
        self._upstream_model: str = row.get("upstream_model") or ""
        self._model: str = row.get("served_model") or self._upstream_model
        self._factor = book.price_factor(self._upstream, at=self._at)
        self._found: dict[str, Price | None] = {}
        """Prices by the model that a part names, as far as they were looked up."""

    def rating(self) -> Rating:
        try:
            found = parts.of(self._row)
        except parts.AudioInIterations:
            raise _Unpriced(AUDIO_IN_ITERATIONS) from None
        lines = [line for part in found for line in self._lines(part)]
        lines += self._items(found)
        cost = sum(line.picos for line in lines)
        if cost > MAX_COST:
            raise _Unpriced(COST_TOO_LARGE)
        applied = {model or self._model: price.id for model, price in self._found.items() if price is not None}
        price_id = applied.get(self._model, next(iter(applied.values()), None))
        others = {model: id for model, id in applied.items() if id is not None and id != price_id}
        return Rating(
            lines=tuple(lines),
            cost_usd_picos=cost,
            price_id=price_id,
            other_prices=others or None,
            price_factor=None if self._factor is None else factors.to_decimal(self._factor),
        )

    def _lines(self, part: Part) -> Iterable[CostLine]:
        """Return the lines of a part, one for each kind of which there are tokens."""
        model = part.model or self._model
        price = self._price(part)
        is_billed = not part.refusal_category or self._bills_refusal(part.refusal_category)
        if price is None:
            if is_billed:
                raise _Unpriced(NO_PRICE)
            price = Price(is_free=True)
        if not price.is_valid:
            raise _Unpriced(INVALID_PRICE)
        if not is_billed or price.is_free:
            reason = FREE if is_billed else REFUSED
            return [
                CostLine(
                    part=part,
                    model=model,
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
        modifiers = self._applying(part, price)
        return [
            CostLine(
                part=part,
                model=model,
                kind=kind,
                tokens=tokens,
                price=price.rate(kind),
                rate=self._rate(price, kind, modifiers),
                modifiers=modifiers,
                input_rate=self._rate(price, price_kinds.INPUT, modifiers),
            )
            for kind, tokens in part.tokens.items()
            if tokens
        ]

    def _items(self, found: list[Part]) -> Iterable[CostLine]:
        """Return the line of web searches, at the price of the served model. No modifier applies to it."""
        searches = self._row.get("web_searches") or 0
        if not searches:
            return []
        part = next((part for part in reversed(found) if part.type in parts.SERVING), found[-1])
        price = self._price(part)
        if part.refusal_category and not self._bills_refusal(part.refusal_category):
            return [self._search_line(part, searches, 0, reason=REFUSED)]
        if price is not None and price.is_free:
            return [self._search_line(part, searches, 0, reason=FREE)]
        if price is None or price.web_search is None:
            raise _Unpriced(NO_WEB_SEARCH_PRICE)
        return [self._search_line(part, searches, money.picos(price.web_search))]

    def _search_line(self, part: Part, searches: int, price: int, *, reason: str = "") -> CostLine:
        return CostLine(
            part=part,
            model=part.model or self._model,
            kind=price_kinds.WEB_SEARCH,
            tokens=searches,
            price=price,
            rate=self._times(price, []),
            is_billed=not reason,
            reason=reason,
        )

    def _price(self, part: Part) -> Price | None:
        """Return the price of a part.

        The served model's, by its own name or as a dated ID of an alias; without one, that of the upstream model. A
        part that names its model has the price of that model alone.
        """
        if part.model not in self._found:
            price = self._find(part.model or self._model)
            if price is None and not part.model:
                price = self._find(self._upstream_model)
            self._found[part.model] = price
        return self._found[part.model]

    def _find(self, model: str) -> Price | None:
        names = (self._model, self._upstream_model)
        alias = next((name for name in names if name != model and is_same_model(name, model)), "")
        return self._book.find(model, upstream=self._upstream, at=self._at, alias=alias)

    def _bills_refusal(self, category: str) -> bool:
        try:
            return refusals.is_billed(category, at=self._at)
        except refusals.UnknownCategory:
            raise _Unpriced(UNKNOWN_REFUSAL_CATEGORY) from None

    def _applying(self, part: Part, price: Price) -> tuple[Modifier, ...]:
        facts = {name: str(self._row.get(name) or "") for name in SERVED}
        conditions = Conditions(at=self._at, prompt_tokens=part.prompt_tokens, **facts)
        try:
            return applying(price.modifiers, conditions)
        except UnknownValue as error:
            raise _Unpriced(UNKNOWN.format(error.dimension)) from None

    def _rate(self, price: Price, kind: str, modifiers: Iterable[Modifier]) -> int:
        return self._times(price.rate(kind), [each.factor(kind) for each in modifiers])

    def _times(self, rate: int, applied: Iterable[int]) -> int:
        """Return a rate times the factors of modifiers and the negotiated factor."""
        try:
            return prices.times(rate, [*applied, factors.ONE if self._factor is None else self._factor])
        except FractionalRate:
            raise _Unpriced(FRACTIONAL_RATE) from None
