"""What recent requests would have cost with proposed prices. Bounded: the latest requests of the last 30 days."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from keys.pricing import price_book
from keys.pricing.catalog.proposals import PriceReview, Proposal, WhatIf
from keys.pricing.catalog.rows import unsaved
from keys.pricing.catalog.used_models import MAX_RECORDS, recent_records
from keys.pricing.model_names import is_same_model
from keys.pricing.price_book import PriceBook
from keys.pricing.rating import rate
from lib import model_patterns

ALWAYS = datetime(2000, 1, 1, tzinfo=UTC)
PROPOSED = -1
"""The ID of a proposed price in a rating: no row has it."""
COLUMNS = (
    "created_at",
    "upstream",
    "upstream_model",
    "served_model",
    "usage_source",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "audio_input_tokens",
    "audio_output_tokens",
    "web_searches",
    "iterations",
    "speed",
    "service_tier",
    "inference_geo",
    "region",
    "refusal_category",
    "refused_before_output",
)
"""The columns of a usage record that are rated."""


@dataclass(slots=True)
class _Trial:
    """A proposal with a price book in which it has always been valid, and the sums of the requests it applies to."""

    proposal: Proposal
    book: PriceBook
    requests: int = 0
    recorded: int = 0
    proposed: int = 0
    unpriced_before: int = 0
    unpriced_after: int = 0

    def concerns(self, upstream: str, names: tuple[str, ...]) -> bool:
        pattern = self.proposal.model_pattern
        return self.proposal.upstream in ("", upstream) and any(
            model_patterns.covers(pattern, name) or is_same_model(pattern, name) for name in names
        )

    def add(self, record: Mapping[str, Any]) -> None:
        """Add a request if the proposed price applies to it."""
        rating = rate(record, self.book)
        after, before = rating.cost_usd_picos, record["cost_usd_picos"]
        if after is not None and PROPOSED not in (rating.price_id, *(rating.other_prices or {}).values()):
            return
        self.requests += 1
        self.recorded += before or 0
        self.proposed += after or 0
        self.unpriced_before += before is None
        self.unpriced_after += after is None

    @property
    def what_if(self) -> WhatIf:
        return WhatIf(
            requests=self.requests,
            recorded_picos=self.recorded,
            proposed_picos=self.proposed,
            unpriced_before=self.unpriced_before,
            unpriced_after=self.unpriced_after,
        )


@dataclass(slots=True)
class _Trials:
    """The trials that concern a request, found once for each upstream and model."""

    trials: list[_Trial]
    _found: dict[tuple[str, ...], list[_Trial]] = field(default_factory=dict)

    def concerning(self, record: Mapping[str, Any]) -> list[_Trial]:
        key = (record["upstream"], record["upstream_model"], record["served_model"])
        if key not in self._found:
            names = tuple(name for name in key[1:] if name)
            self._found[key] = [trial for trial in self.trials if trial.concerns(key[0], names)]
        return self._found[key]


def with_costs(review: PriceReview) -> PriceReview:
    """Return the review with the cost of recent requests for each proposal that changes a current price."""
    changing = [each for each in review.proposals if each.kind != "rules" and each.valid_from is None]
    if not changing:
        return review
    book = price_book.load()
    trials = _Trials([_Trial(each, _book_with(each, book)) for each in changing])
    rated = 0
    for record in _records():
        concerned = trials.concerning(record)
        rated += bool(concerned)
        for trial in concerned:
            trial.add(record)
    costs = {trial.proposal.id: trial.what_if for trial in trials.trials}
    return msgspec.structs.replace(
        review,
        proposals=tuple(msgspec.structs.replace(each, what_if=costs.get(each.id)) for each in review.proposals),
        rated_requests=rated,
        is_rating_complete=recent_records().count() < MAX_RECORDS,
    )


def _records() -> Iterator[dict[str, Any]]:
    records = recent_records().exclude(upstream="").order_by()
    yield from records.values(*COLUMNS, "cost_usd_picos").iterator(chunk_size=2_000)


def _book_with(proposal: Proposal, book: PriceBook) -> PriceBook:
    """Return a price book in which the proposed price stands for all prices of its pattern and upstream."""
    pattern, upstream = proposal.model_pattern, proposal.upstream
    row, modifiers = unsaved(proposal.price, pattern=pattern, upstream=upstream, valid_from=ALWAYS)
    price = replace(price_book.price_of(row, modifiers), id=PROPOSED)
    others = [each for each in book.rows.get(pattern, []) if each.upstream != upstream]
    return PriceBook({**book.rows, pattern: [price, *others]}, book.factors)
