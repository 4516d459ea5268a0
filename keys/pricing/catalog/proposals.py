"""Proposed prices and their review, as JSON between `manage.py sync_prices` and the page. Pure."""

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import msgspec

TIMES = "\N{MULTIPLICATION SIGN}"
LABELS = {
    "input_price": "Input",
    "output_price": "Output",
    "cache_read_price": "Cache read",
    "cache_write_5m_price": "Cache write, 5 minutes",
    "cache_write_1h_price": "Cache write, 1 hour",
    "audio_input_price": "Audio input",
    "audio_output_price": "Audio output",
    "web_search_price": "Web search",
}
"""Columns of rates with their labels."""
RATES = tuple(LABELS)
OTHER_LABELS = {
    "is_free": "Free",
    "writes_cache_implicitly": "Implicit cache writes",
    "max_output_tokens": "Maximum output tokens",
}

Kind = Literal["new", "changed", "rules"]
Confidence = Literal["exact", "dated", "prefix", "file"]


class ProposedModifier(msgspec.Struct, frozen=True, kw_only=True):
    """A modifier of a proposed price, with the fields of `PriceModifier`."""

    dimension: str
    value: str
    weekdays: str = ""
    input_factor: Decimal
    output_factor: Decimal

    @property
    def key(self) -> tuple[str, str]:
        """What it applies to. A price has one modifier for it."""
        return self.dimension, self.value

    @property
    def factors(self) -> str:
        """The factors as text: one, or those of input and output."""
        first, second = (f"{TIMES} {factor.normalize():f}" for factor in (self.input_factor, self.output_factor))
        return first if first == second else f"{first}, output {second}"


class ProposedPrice(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a price, with the fields of `ModelPrice` and its modifiers."""

    rates: dict[str, int | None]
    """By column. A column that is missing has no rate of its own."""
    is_free: bool = False
    writes_cache_implicitly: bool = False
    max_output_tokens: int | None = None
    modifiers: tuple[ProposedModifier, ...] = ()

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of the price's row."""
        rates = {name: self.rates.get(name) for name in RATES}
        others = {name: getattr(self, name) for name in OTHER_LABELS}
        return {**rates, **others, **{name: rates[name] or 0 for name in ("input_price", "output_price")}}

    @property
    def sorted_modifiers(self) -> list[ProposedModifier]:
        return sorted(self.modifiers, key=lambda each: (*each.key, each.weekdays))


class Addition(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that the catalog does not know: a modifier, a changed field, or weekdays of the modifiers by hours."""

    id: str
    label: str
    reason: str
    modifier: ProposedModifier | None = None
    fields: dict[str, int | bool] = {}
    weekdays: str = ""

    def added_to(self, price: ProposedPrice) -> ProposedPrice:
        """Return the price with this rule."""
        modifiers = [each for each in price.modifiers if self.modifier is None or each.key != self.modifier.key]
        if self.weekdays:
            modifiers = [
                msgspec.structs.replace(each, weekdays=self.weekdays) if each.dimension == "utc_hours" else each
                for each in modifiers
            ]
        if self.modifier is not None:
            modifiers.append(self.modifier)
        rates = price.rates | {name: value for name, value in self.fields.items() if name in RATES}
        others: dict[str, Any] = {name: value for name, value in self.fields.items() if name in OTHER_LABELS}
        return msgspec.structs.replace(price, rates=rates, modifiers=tuple(modifiers), **others)


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A field of a price whose value changes, as text. An empty old value: there is none."""

    label: str
    old: str
    new: str


class WhatIf(msgspec.Struct, frozen=True, kw_only=True):
    """The cost of recent requests as recorded and with the proposed price, in pico-dollars."""

    requests: int
    recorded_picos: int
    proposed_picos: int
    unpriced_before: int
    unpriced_after: int


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """A price that a source proposes for a model pattern at an upstream."""

    id: str
    kind: Kind
    model_pattern: str
    upstream: str
    """Empty: any upstream."""
    price: ProposedPrice
    source: str
    confidence: Confidence
    is_named_only: bool = False
    """The name of the model is known, and not that its upstream is the provider of the catalog."""
    is_unpriced: bool = False
    """Requests of the last 30 days have no cost."""
    is_selected: bool = False
    """Selected when the review is shown."""
    valid_from: datetime | None = None
    """None: when it is applied."""
    known_since: str = ""
    """The day from which the source knows the price."""
    replaces_since: datetime | None = None
    """The start of the current price."""
    replaces: int | None = None
    """The ID of the current price."""
    base: str = ""
    """Digest of the prices that it was compared with: `keys.pricing.catalog.current`."""
    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()
    additions: tuple[Addition, ...] = ()
    what_if: WhatIf | None = None

    @property
    def subject(self) -> str:
        return f"{self.model_pattern} at {self.upstream}" if self.upstream else self.model_pattern

    def priced_with(self, addition_ids: frozenset[str]) -> ProposedPrice:
        """Return the price with the chosen additions."""
        price = self.price
        for addition in self.additions:
            if addition.id in addition_ids:
                price = addition.added_to(price)
        return price


class UnmatchedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model in use without a price and without a proposal."""

    model: str
    upstream: str
    reason: str


class GonePrice(msgspec.Struct, frozen=True, kw_only=True):
    """A current price that its source no longer has. It stays valid."""

    id: int
    model_pattern: str
    upstream: str
    source: str


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A fault of the source. Line 0: none."""

    message: str
    line: int = 0
    field: str = ""

    def __str__(self) -> str:
        place = [f"Line {self.line}"] if self.line else []
        place += [self.field] if self.field else []
        return f"{', '.join(place)}: {self.message}" if place else self.message


class PriceReview(msgspec.Struct, frozen=True, kw_only=True):
    """All that a source proposes. With problems there are no proposals."""

    source: str
    prepared_at: datetime
    proposals: tuple[Proposal, ...] = ()
    unmatched: tuple[UnmatchedModel, ...] = ()
    gone: tuple[GonePrice, ...] = ()
    unchanged: int = 0
    left_out: int = 0
    """Models in use that were not compared, because there are too many."""
    rated_requests: int = 0
    """Requests that were rated with the proposed prices."""
    is_rating_complete: bool = True
    """False if there were more requests than are rated."""
    problems: tuple[Problem, ...] = ()

    def of_kind(self, kind: Kind) -> list[Proposal]:
        return [each for each in self.proposals if each.kind == kind]


def encode(review: PriceReview) -> bytes:
    return msgspec.json.encode(review)


def decode(content: bytes) -> PriceReview:
    """Raise ValueError if the content is no review."""
    return msgspec.json.decode(content, type=PriceReview)
