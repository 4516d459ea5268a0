"""Current prices as a review compares them: their content, differences as text, and a digest of what was compared."""

import hashlib
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import msgspec
from django.db.models import QuerySet

from keys.models import ModelPrice
from keys.pricing import price_book
from keys.pricing.catalog.proposals import LABELS, OTHER_LABELS, RATES, Change, ProposedModifier, ProposedPrice
from lib import money

OF_INPUT = "input rate"
OF_OUTPUT = "output rate"
NO_RATE = {"audio_output_price": OF_OUTPUT, "web_search_price": "unknown"}
"""Rates without a value of their own. Others are the input rate."""


class CurrentPrices:
    """The prices of the database at one time."""

    def __init__(self, *, at: datetime) -> None:
        self.at = at
        self._book = price_book.load()
        self._rows = {row.pk: row for row in rows()}

    def covering(self, model: str, *, upstream: str) -> ModelPrice | None:
        """Return the price that applies to a model at an upstream now."""
        price = self._book.find(model, upstream=upstream, at=self.at)
        return self._rows.get(price.id or 0) if price is not None else None

    def of(self, pattern: str, *, upstream: str) -> list[ModelPrice]:
        """Return the prices of a pattern and an upstream, the latest first."""
        found = [each for each in self._rows.values() if (each.model_pattern, each.upstream) == (pattern, upstream)]
        return sorted(found, key=lambda each: each.valid_from, reverse=True)

    def valid(self) -> list[ModelPrice]:
        """Return the latest valid price of each pattern and upstream."""
        found: dict[tuple[str, str], ModelPrice] = {}
        for row in sorted(self._rows.values(), key=lambda each: each.valid_from):
            if row.valid_from <= self.at:
                found[row.model_pattern, row.upstream] = row
        return list(found.values())


def rows() -> QuerySet[ModelPrice]:
    """Return all prices with their modifiers. Two queries."""
    return ModelPrice.objects.prefetch_related("modifiers")


def content_of(row: ModelPrice) -> ProposedPrice:
    """Return the content of a price, comparable with a proposed one."""
    rates = {name: getattr(row, name) for name in RATES if getattr(row, name) is not None}
    modifiers = [
        ProposedModifier(
            dimension=each.dimension,
            value=each.value,
            weekdays=each.weekdays,
            input_factor=each.input_factor,
            output_factor=each.output_factor,
        )
        for each in row.modifiers.all()
    ]
    return ProposedPrice(
        rates={} if row.is_free else rates,
        is_free=row.is_free,
        writes_cache_implicitly=row.writes_cache_implicitly,
        max_output_tokens=row.max_output_tokens,
        modifiers=tuple(modifiers),
    )


def is_same(first: ProposedPrice, second: ProposedPrice) -> bool:
    return first.fields == second.fields and first.sorted_modifiers == second.sorted_modifiers


def digest(compared: Iterable[ModelPrice | None]) -> str:
    """Return a digest of prices. It differs if one of them was changed, replaced or removed."""
    parts: list[Any] = [
        (each.pk, each.valid_from, content_of(each).fields, content_of(each).sorted_modifiers)
        for each in compared
        if each is not None
    ]
    return hashlib.sha256(msgspec.json.encode(parts, enc_hook=str)).hexdigest()[:32]


# ---- Differences as text.


def changes(old: ProposedPrice | None, new: ProposedPrice) -> tuple[Change, ...]:
    """Return each field and modifier that differs; of a new price, all that it has."""
    return (*_changed_fields(old, new), *_changed_modifiers(old, new))


def _changed_fields(old: ProposedPrice | None, new: ProposedPrice) -> Iterator[Change]:
    before = old.fields if old else {}
    for name, value in new.fields.items():
        if old is None and (value is None or value is False or (new.is_free and name in RATES)):
            continue
        if old is not None and before[name] == value:
            continue
        label = LABELS.get(name) or OTHER_LABELS[name]
        yield Change(label=label, old=_text(name, before[name]) if old else "", new=_text(name, value))


def _text(name: str, value: Any) -> str:
    if value is None:
        return NO_RATE.get(name, OF_INPUT) if name in RATES else "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return money.dollars(value) if name in RATES else f"{value:,}"


def _changed_modifiers(old: ProposedPrice | None, new: ProposedPrice) -> Iterator[Change]:
    before = {_name(each): each.factors for each in (old.modifiers if old else ())}
    after = {_name(each): each.factors for each in new.sorted_modifiers}
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            missing = "none" if old else ""
            yield Change(label=name, old=before.get(name, missing), new=after.get(name, "none"))


DIMENSIONS = {
    "prompt_over": "Prompt over {} tokens",
    "speed": "Speed {}",
    "service_tier": "Service tier {}",
    "inference_geo": "Inference geography {}",
    "region": "Region {}",
    "utc_hours": "Hours {} UTC",
}
WEEKDAYS = {"": "", "12345": ", Monday to Friday"}


def _name(modifier: ProposedModifier) -> str:
    value = f"{int(modifier.value):,}" if modifier.dimension == "prompt_over" else modifier.value
    days = WEEKDAYS.get(modifier.weekdays, f", weekdays {modifier.weekdays}")
    return DIMENSIONS.get(modifier.dimension, modifier.dimension + " {}").format(value) + days
