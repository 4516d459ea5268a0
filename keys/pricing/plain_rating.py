"""
Rating of plain requests with rates that are kept: the columns of `rating.rate`, which takes three times as long.

A request is plain if its tokens are one part, in which all is billed and no audio. The effective rates of a price are
computed by `rating` once for each combination of modifiers, and kept with the price book.
"""

from collections.abc import Hashable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from keys.domain import factors, utc_hours
from keys.domain.price_modifiers import PROMPT_OVER, SERVED, UTC_HOURS
from keys.domain.prices import Price
from keys.pricing.part_prices import PartPrices
from keys.pricing.parts import Part
from keys.pricing.price_book import MAX_RANKED, PriceBook
from keys.pricing.rating import MAX_COST, NO_USAGE, effective_rates, rate

_PART = Part()
_NOT_PLAIN = ("iterations", "refused_before_output", "web_searches", "audio_input_tokens", "audio_output_tokens")


_KINDS = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")
_INPUT, _OUTPUT, _CACHED = 0, 1, 2
"""Positions of input and output tokens, and of the first kind of cached ones."""


class PlainRates(NamedTuple):
    """Effective rates in the order of `_KINDS`, and the negotiated factor that they contain."""

    by_kind: tuple[int, ...]
    price_factor: Decimal | None


def rated_columns(row: Mapping[str, Any], book: PriceBook) -> dict[str, Any]:
    """Return all columns that rating decides, as `rate(row, book).columns`."""
    for name in _NOT_PLAIN:
        if row.get(name):
            return rate(row, book).columns
    return (row.get("usage_source") != NO_USAGE and _plain_columns(row, book)) or rate(row, book).columns


def _plain_columns(row: Mapping[str, Any], book: PriceBook) -> dict[str, Any] | None:
    """Return the columns of a plain request, or None if it is not billed or unpriced."""
    price = PartPrices(row, book).price(_PART)
    if price is None or price.is_free or not price.is_valid:
        return None
    tokens = [_count(row.get(f"{kind}_tokens")) for kind in _KINDS]
    rates = _rates(row, book, price, sum(tokens) - tokens[_OUTPUT])
    if rates is None:
        return None
    costs = [count * each for count, each in zip(tokens, rates.by_kind, strict=True)]
    cost = sum(costs)
    if cost > MAX_COST:
        return None
    cached = sum(tokens[_CACHED:])
    return {
        "cost_usd_picos": cost,
        "input_cost_usd_picos": costs[0],
        "output_cost_usd_picos": costs[_OUTPUT],
        "cache_read_cost_usd_picos": costs[_CACHED],
        "cache_write_cost_usd_picos": costs[-2] + costs[-1],
        "item_cost_usd_picos": 0,
        "cache_savings_usd_picos": cached * rates.by_kind[_INPUT] - sum(costs[_CACHED:]),
        "unpriced_reason": "",
        "price_id": price.id,
        "other_prices": None,
        "price_factor": rates.price_factor,
    }


def _rates(row: Mapping[str, Any], book: PriceBook, price: Price, prompt_tokens: int) -> PlainRates | None:
    """Return the effective rates, or None if one is unknown."""
    known: dict[Hashable, PlainRates | None] = book.plain_rates
    factor = book.price_factor(row.get("upstream") or "", at=row["created_at"])
    varying = _varying(price, row["created_at"], prompt_tokens) if price.modifiers else ()
    key = (id(price), factor, varying, *[row.get(name) or "" for name in SERVED])  # the price book keeps its prices
    if key in known:
        return known[key]
    found = _computed(row, book, factor)
    if len(known) < MAX_RANKED:
        known[key] = found
    return found


def _varying(price: Price, at: datetime, prompt_tokens: int) -> tuple[bool, ...]:
    """Return which modifiers apply of those that depend on the time and on the prompt."""
    return tuple(
        prompt_tokens > each.threshold
        if each.dimension == PROMPT_OVER
        else utc_hours.contain(each.hours, each.weekdays, at)
        for each in price.modifiers
        if each.dimension in (PROMPT_OVER, UTC_HOURS)
    )


def _computed(row: Mapping[str, Any], book: PriceBook, factor: int | None) -> PlainRates | None:
    rates = effective_rates(row, book)
    if rates is None:
        return None
    price_factor = None if factor is None else factors.to_decimal(factor)
    return PlainRates(by_kind=tuple(rates[kind] for kind in _KINDS), price_factor=price_factor)


def _count(value: Any) -> int:
    """Return a number of tokens. Unknown counts are 0."""
    return value if type(value) is int and value > 0 else 0
