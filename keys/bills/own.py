"""The gateway's own figures of an upstream: tokens and cost by cell, read from the usage records day by day."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.db.models import Count, F, Q, Sum
from django.db.models.functions import Coalesce

from keys.bills.cells import DIMENSIONS, GROUPS, KINDS, Cell, Tokens, canonical, neutral, plus
from keys.bills.lines import Kind
from keys.models import UsageRecord
from keys.pricing import parts, rating, reasons, refusals
from keys.pricing.price_book import PriceBook
from keys.pricing.recorded_prices import RecordedPrices
from lib import money
from lib.pace import Pace, no_pace

TOKEN_COLUMNS = {kind: f"{kind}_tokens" for kind in KINDS if kind != Kind.WEB_SEARCH} | {
    Kind.WEB_SEARCH: "web_searches"
}
COST_COLUMNS = {
    "input": "input_cost_usd_picos",
    "output": "output_cost_usd_picos",
    "cache_read": "cache_read_cost_usd_picos",
    "cache_write": "cache_write_cost_usd_picos",
    "item": "item_cost_usd_picos",
}
FACTS = (*DIMENSIONS, "region", "refused_before_output", "refusal_category")
RATED_COLUMNS = (
    "id",
    "created_at",
    "settled_at",
    "upstream",
    "upstream_model",
    "served_model",
    "model",
    *FACTS,
    "iterations",
    *TOKEN_COLUMNS.values(),
    "audio_input_tokens",
    "audio_output_tokens",
    "usage_source",
    "cost_usd_picos",
    *COST_COLUMNS.values(),
    "price_id",
    "other_prices",
    "price_factor",
)
"""Columns that rating reads."""


@dataclass(slots=True)
class OwnCell:
    """Sums of the records of a cell."""

    tokens: Tokens = field(default_factory=dict)
    picos: dict[str, int] = field(default_factory=dict)
    """By part of the cost."""
    requests: int = 0
    unpriced: int = 0
    names: set[str] = field(default_factory=set)
    """The model as the records name it."""
    declined: list[tuple[str, Tokens]] = field(default_factory=list)
    """Of parts that the model declined: the record and the tokens."""

    def add(
        self, tokens: Mapping[str, int], picos: Mapping[str, int], *, name: str, requests: int = 1, unpriced: int = 0
    ) -> None:
        self.tokens = plus(self.tokens, tokens)
        for group, amount in picos.items():
            self.picos[group] = self.picos.get(group, 0) + amount
        self.requests += requests
        self.unpriced += unpriced
        self.names.add(name)


@dataclass(slots=True)
class OwnFigures:
    cells: dict[Cell, OwnCell] = field(default_factory=dict)
    refused: dict[Cell, OwnCell] = field(default_factory=dict)
    """Refusals that are not billed. Their usage has counts that no bill should have."""
    regions: Counter[str] = field(default_factory=Counter)
    """Requests by the region of the upstream, which no bill states."""

    @property
    def region(self) -> str:
        """The region of most requests."""
        return max(self.regions, key=lambda region: self.regions[region], default="")

    def picos_of(self, day: date) -> int:
        return sum(sum(own.picos.values()) for cell, own in self.cells.items() if cell.day == day)


def own_figures(
    upstream: str, first: date, last: date, *, known: tuple[str, ...], book: PriceBook, pace: Pace = no_pace
) -> OwnFigures:
    """Sum the records of an upstream by cell. `known` are the dimensions that the bill has; others are one value."""
    figures = OwnFigures()
    day = first
    while day <= last:
        for row in _sums(upstream, day):
            _add_sums(figures, day, row, known)
        for row in of_day(upstream, day).filter(iterations__isnull=False).values(*RATED_COLUMNS).iterator():
            _add_parts(figures, day, row, known, book)
            pace()
        pace()
        day += timedelta(days=1)
    return figures


def of_day(upstream: str, day: date) -> Any:
    """Return the settled records of a UTC day that an upstream received."""
    return received_on(day).filter(upstream=upstream)


def received_on(day: date) -> Any:
    """Return the settled records of a UTC day that any upstream received."""
    begin = begin_of(day)
    settled = UsageRecord.objects.filter(created_at__gte=begin, created_at__lt=begin + timedelta(days=1))
    return settled.filter(settled_at__isnull=False).exclude(status="rejected").order_by()


def begin_of(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def name_of(row: Mapping[str, Any]) -> str:
    return str(row["served_model"] or row["upstream_model"] or row.get("model") or "")


def cell_of(day: date, row: Mapping[str, Any], known: tuple[str, ...], *, model: str = "") -> Cell:
    facts = {name: neutral(name, row[name]) if name in known else "" for name in DIMENSIONS}
    return Cell(day, canonical(model or name_of(row)), **facts)


def tokens_of(row: Mapping[str, Any]) -> Tokens:
    return {kind: row[column] for kind, column in TOKEN_COLUMNS.items() if row[column]}


def is_unbilled_refusal(row: Mapping[str, Any], day: date) -> bool:
    if not row["refused_before_output"] or not row["refusal_category"]:
        return False
    try:
        return not refusals.is_billed(row["refusal_category"], at=begin_of(day))
    except refusals.UnknownCategory:
        return False


def _sums(upstream: str, day: date) -> Iterator[dict[str, Any]]:
    """Yield sums by model and facts. One query."""
    sums: dict[str, Any] = {column: Coalesce(Sum(column), 0) for column in TOKEN_COLUMNS.values()}
    for column in COST_COLUMNS.values():  # in two parts: SQLite's sum overflows
        sums[f"{column}_whole"] = Coalesce(Sum(F(column) / money.PICOS_PER_MICRO), 0)
        sums[f"{column}_rest"] = Coalesce(Sum(F(column) % money.PICOS_PER_MICRO), 0)
    plain = of_day(upstream, day).filter(iterations__isnull=True)
    grouped = plain.annotate(name=Coalesce(F("served_model"), F("upstream_model")))
    yield from grouped.values("served_model", "upstream_model", *FACTS).annotate(
        requests=Count("pk"), unpriced=Count("pk", filter=Q(cost_usd_picos=None) & _HAS_TOKENS), **sums
    )


_HAS_TOKENS = Q(input_tokens__gt=0) | Q(output_tokens__gt=0) | Q(cache_read_tokens__gt=0)


def _add_sums(figures: OwnFigures, day: date, row: dict[str, Any], known: tuple[str, ...]) -> None:
    picos = {
        group: money.join(int(row[f"{column}_whole"]), int(row[f"{column}_rest"]))
        for group, column in COST_COLUMNS.items()
    }
    figures.regions[row["region"]] += row["requests"]
    cells = figures.refused if is_unbilled_refusal(row, day) else figures.cells
    cells.setdefault(cell_of(day, row, known), OwnCell()).add(
        tokens_of(row), picos, name=name_of(row), requests=row["requests"], unpriced=row["unpriced"]
    )


def _add_parts(figures: OwnFigures, day: date, row: dict[str, Any], known: tuple[str, ...], book: PriceBook) -> None:
    """Add a record by the models of its samplings. Where its cost does not divide exactly, it stays with its model."""
    lines = rated_lines(row, book)
    if lines is None:
        picos = {group: row[column] or 0 for group, column in COST_COLUMNS.items()}
        tokens, unpriced = tokens_of(row), int(row["cost_usd_picos"] is None)
        cell = figures.cells.setdefault(cell_of(day, row, known), OwnCell())
        cell.add(tokens, picos, name=name_of(row), requests=1, unpriced=unpriced)
        return
    declined: dict[Cell, Tokens] = {}
    for number, line in enumerate(lines):
        kind, place = _kind_of(line.kind), cell_of(day, row, known, model=line.model)
        if not line.is_billed and line.reason == reasons.REFUSED:
            declined[place] = plus(declined.get(place, {}), {kind: line.tokens})
            continue
        cell = figures.cells.setdefault(place, OwnCell())
        cell.add({kind: line.tokens}, {GROUPS[kind]: line.picos}, name=line.model, requests=not number, unpriced=0)
    for place, tokens in declined.items():
        refused = figures.refused.setdefault(place, OwnCell())
        refused.add(tokens, {}, name=name_of(row), requests=0)
        refused.declined.append((row["id"], tokens))


def rated_lines(row: Mapping[str, Any], book: PriceBook) -> tuple[rating.CostLine, ...] | None:
    """Return the cost lines of a record at the prices that it names, or None if they do not add up to its cost."""
    by_id = {price.id: price for prices in book.rows.values() for price in prices}
    others = {model: by_id[id] for model, id in (row["other_prices"] or {}).items() if id in by_id}
    factor = row["price_factor"]
    recorded = RecordedPrices(by_id.get(row["price_id"]), others, None if factor is None else int(factor * 10_000))
    try:
        rated = rating.rate(row, recorded)
    except parts.AudioInIterations:
        return None
    matches = rated.cost_usd_picos is not None and rated.cost_usd_picos == row["cost_usd_picos"]
    return rated.lines if matches else None


def _kind_of(kind: str) -> Kind:
    return {"audio_input": Kind.INPUT, "audio_output": Kind.OUTPUT}.get(kind) or Kind(kind)
