"""Causes of tokens that are in another place: keys, dimensions, days, lifetimes of writes. The rest stays."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from keys.bills import causes
from keys.bills.billed import Billed, KeyTokens, positions
from keys.bills.causes import Item, Parts, described, evidence
from keys.bills.cells import (
    DIMENSIONS,
    NEUTRAL,
    Cell,
    Tokens,
    covers,
    is_positive,
    minus,
    plus,
    size,
    total,
)
from keys.bills.lines import Kind
from keys.bills.own import (
    COST_COLUMNS,
    RATED_COLUMNS,
    TOKEN_COLUMNS,
    OwnCell,
    OwnFigures,
    begin_of,
    cell_of,
    of_day,
    tokens_of,
)
from keys.bills.unit_prices import UnitPrices

NEAR_MIDNIGHT = timedelta(minutes=30)
MAX_CANDIDATES = 500
PROMPT_KINDS = {Kind.INPUT, Kind.CACHE_READ, Kind.CACHE_WRITE_5M, Kind.CACHE_WRITE_1H}
CAUSE_OF_DIMENSION = {
    "speed": causes.SPEED,
    "inference_geo": causes.INFERENCE_GEO,
    "service_tier": causes.SERVICE_TIER,
}


@dataclass(slots=True)
class Matching:
    """The differences between bill and records by cell, while causes are taken out of them."""

    upstream: str
    own: OwnFigures
    billed: Billed
    prices: UnitPrices
    days: set[date]
    """The days of the bill. Records of the days around it may be billed on them."""
    rest: dict[Cell, Tokens] = field(default_factory=dict)
    """Billed minus recorded tokens."""
    items: list[Item] = field(default_factory=list)
    unpriced_days: set[tuple[date, str]] = field(default_factory=set)
    """Days and models with a cause whose tokens have no price."""
    moved: set[str] = field(default_factory=set)
    """Records that were billed in another cell: each is moved once."""

    def take(self, cell: Cell, tokens: Mapping[str, int]) -> None:
        """Take explained tokens out of the difference of a cell. Days without a bill have none."""
        if cell.day not in self.days:
            return
        self.rest[cell] = minus(self.rest.get(cell, {}), tokens)
        if not self.rest[cell]:
            del self.rest[cell]

    def parts(self, tokens: Mapping[str, int], cell: Cell) -> Parts:
        """Return what tokens of a cell cost. Note unpriced ones: the bill's amount is then the only known one.

        They have a part of 0, so that their cause is shown on its day.
        """
        found = self.prices.parts(tokens, cell)
        if found is None:
            self.unpriced_days.add((cell.day, cell.model))
            return {(cell.day, cell.model, causes.ALL): 0}
        return found

    def if_long(self, tokens: Mapping[str, int], cell: Cell) -> int:
        return sum((self.prices.parts(tokens, cell, is_long=True) or {}).values())

    def lines(self, *cells: Cell) -> list[causes.BillLines]:
        """Return the bill's lines of cells as evidence."""
        groups = [each for each in self.billed.tokens if each.cell in cells]
        found: dict[int, causes.BillLines] = {}
        for each in groups:
            known = found.setdefault(each.bill.pk, evidence(each.bill, [], 0))
            first, count = positions(each.bill, each.where)
            fresh = [position for position in first if position not in known.positions]
            shown = (known.positions + fresh)[: causes.MAX_EVIDENCE]
            found[each.bill.pk] = evidence(each.bill, shown, known.count + count)
        return list(found.values())

    def records(self, cell: Cell, **exact: Any) -> list[dict[str, Any]]:
        """Return records of a cell whose columns have these values."""
        rows = of_day(self.upstream, cell.day).filter(**exact).values(*RATED_COLUMNS)[:MAX_CANDIDATES]
        return [
            row for row in rows if cell_of(cell.day, row, self.billed.known) == cell and row["id"] not in self.moved
        ]

    def with_tokens(self, cell: Cell, tokens: Mapping[str, int]) -> list[dict[str, Any]]:
        """Return the records of a cell with exactly these tokens."""
        exact = {column: tokens[kind] for kind, column in TOKEN_COLUMNS.items() if tokens.get(kind)}
        return [row for row in self.records(cell, **exact) if tokens_of(row) == dict(tokens)] if exact else []


def is_whole(tokens: Mapping[str, int]) -> bool:
    """Return whether these can be the tokens of whole requests: a prompt and output."""
    return is_positive(tokens) and Kind.OUTPUT in tokens and bool(PROMPT_KINDS & tokens.keys())


def joined(all_parts: Iterable[Parts]) -> Parts:
    found: Parts = {}
    for parts in all_parts:
        for key, picos in parts.items():
            found[key] = found.get(key, 0) + picos
    return found


# ---- Keys.


def foreign_keys(matching: Matching, own_keys: set[str]) -> list[KeyTokens]:
    """Explain the tokens of keys that are not the gateway's. Return those of its own."""
    if not matching.billed.keys or not own_keys:
        return matching.billed.tokens
    mine = [each for each in matching.billed.tokens if each.provider_key in own_keys]
    groups: dict[tuple[date, str], list[KeyTokens]] = {}
    for each in matching.billed.tokens:
        if each.provider_key not in own_keys:
            groups.setdefault((each.cell.day, each.provider_key), []).append(each)
    for (_, key), parts in groups.items():
        name = f"key {key}" if key else "no key (the provider's console)"
        found = [(each.bill, *positions(each.bill, each.where)) for each in parts]
        shown = list(dict.fromkeys(position for _, first, _ in found for position in first))
        text = f"{name}: {described(total(each.tokens for each in parts))}"
        picos = joined(matching.parts(each.tokens, each.cell) for each in parts)
        if_long = sum(matching.if_long(each.tokens, each.cell) for each in parts)
        lines = [evidence(parts[0].bill, shown[: causes.MAX_EVIDENCE], sum(count for *_, count in found))]
        matching.items.append(Item(causes.FOREIGN_KEY, text, picos, lines=lines, if_long=if_long))
    return mine


# ---- Dimensions: a request that was billed at another speed, tier or geography than it was recorded with.


def moved_dimensions(matching: Matching) -> None:
    for cell in [cell for cell, tokens in matching.rest.items() if is_positive(tokens)]:
        tokens = dict(matching.rest[cell])
        for other in _siblings(matching, cell):
            rows = matching.with_tokens(other, tokens)
            lacking = matching.rest.get(other, {})
            is_closer = size(plus(lacking, tokens)) < size(lacking) + size(tokens)
            if rows and (is_closer or cell not in matching.own.cells):
                _move(matching, other, cell, tokens, rows[:1])
                break
        else:
            _move_sums(matching, cell, tokens)


def _siblings(matching: Matching, cell: Cell) -> Iterator[Cell]:
    """Yield the cells of the same day and model with other facts, those of which the bill has less first."""
    others = [
        other for other in matching.own.cells if (other.day, other.model) == (cell.day, cell.model) and other != cell
    ]
    yield from sorted(others, key=lambda other: sum(matching.rest.get(other, {}).values()))


def _move_sums(matching: Matching, cell: Cell, tokens: Tokens) -> None:
    """Explain several requests: the bill has them in a cell without records, and another cell lacks them."""
    for other in _siblings(matching, cell):
        lacking = matching.rest.get(other, {})
        is_closer = size(plus(lacking, tokens)) < size(lacking) + size(tokens)
        if cell not in matching.own.cells and covers(matching.own.cells[other].tokens, tokens) and is_closer:
            _move(matching, other, cell, tokens, [])
            return


def _move(matching: Matching, source: Cell, target: Cell, tokens: Tokens, rows: list[dict[str, Any]]) -> None:
    matching.take(target, tokens)
    matching.take(source, {kind: -count for kind, count in tokens.items()})
    changed = [name for name in DIMENSIONS if getattr(source, name) != getattr(target, name)]
    facts = ", ".join(f"{getattr(target, name)} instead of {getattr(source, name)}" for name in changed)
    parts = None
    matching.moved.update(row["id"] for row in rows)
    if rows:
        parts = matching.prices.rerated(rows[0], {name: _asked(target, name) for name in changed}, target)
    if parts is None:
        removed = matching.parts({kind: -count for kind, count in tokens.items()}, source)
        parts = joined([matching.parts(tokens, target), removed])
    cause = next(CAUSE_OF_DIMENSION[name] for name in ("speed", "inference_geo", "service_tier") if name in changed)
    matching.items.append(
        Item(
            cause,
            f"{target.model}: billed as {facts}: {described(tokens)}",
            parts,
            records=[row["id"] for row in rows],
            lines=matching.lines(target),
        )
    )


def _asked(cell: Cell, name: str) -> str:
    value: str = getattr(cell, name)
    return "" if value == NEUTRAL[name] else value


# ---- Days: a request that was billed on the next or on the previous day.


def moved_days(matching: Matching) -> None:
    for cell in sorted(matching.own.cells):
        for step in (1, -1):
            other = Cell(cell.day + timedelta(days=step), cell.model, **cell.facts)
            if other.day in matching.days and is_positive(matching.rest.get(other, {})):
                _move_day(matching, cell, other)


def _move_day(matching: Matching, cell: Cell, other: Cell) -> None:
    """Explain tokens that a day has too many of by records near its border that the other day lacks."""
    excess = matching.rest[other]
    lacking = matching.rest.get(cell, {})
    if (
        is_whole(excess) and lacking and not plus(lacking, excess)
    ):  # exactly what the other day lacks, at whatever time it was
        rows = matching.with_tokens(cell, excess)[:1]
        _explain_day(matching, cell, other, dict(excess), rows)
        return
    border = begin_of(max(cell.day, other.day))
    near = {"created_at__gte": border - NEAR_MIDNIGHT, "created_at__lt": border + NEAR_MIDNIGHT}
    rows = matching.records(cell, **near)
    if cell.day < other.day:
        rows += [row for row in matching.records(cell, settled_at__gte=border) if row not in rows]
    for row in sorted(rows, key=lambda row: abs(row["created_at"] - border)):
        tokens, excess, lacking = tokens_of(row), matching.rest.get(other, {}), matching.rest.get(cell, {})
        closer = size(plus(lacking, tokens)) + size(minus(excess, tokens)) < size(lacking) + size(excess)
        if tokens and covers(excess, tokens) and (tokens == excess or closer):
            _explain_day(matching, cell, other, tokens, [row])


def _explain_day(matching: Matching, cell: Cell, other: Cell, tokens: Tokens, rows: list[dict[str, Any]]) -> None:
    matching.take(other, tokens)
    matching.take(cell, {kind: -count for kind, count in tokens.items()})
    matching.moved.update(row["id"] for row in rows)
    if rows:
        costs = {group: rows[0][column] or 0 for group, column in COST_COLUMNS.items()}
    else:
        costs = {group: picos for (_, _, group), picos in matching.parts(tokens, cell).items()}
    parts = {(cell.day, cell.model, group): -picos for group, picos in costs.items()}
    parts |= {(other.day, cell.model, group): picos for group, picos in costs.items()}
    matching.items.append(
        Item(
            causes.DAY_BOUNDARY,
            f"{cell.model}: recorded on {cell.day}, billed on {other.day}: {described(tokens)}",
            {key: picos for key, picos in parts.items() if key[0] in matching.days},
            records=[row["id"] for row in rows],
            lines=matching.lines(other),
        )
    )


# ---- Cache writes: a 1-hour write that was counted as one of 5 minutes, or the other way round.


def write_lifetimes(matching: Matching) -> None:
    for cell in list(matching.rest):
        tokens = matching.rest[cell]
        own = matching.own.cells.get(cell, OwnCell()).tokens
        short, long = tokens.get(Kind.CACHE_WRITE_5M, 0), tokens.get(Kind.CACHE_WRITE_1H, 0)
        if long > 0 and own.get(Kind.CACHE_WRITE_5M) and (short < 0 or set(tokens) == {Kind.CACHE_WRITE_1H}):
            _explain_writes(matching, cell, at_least=max(-short, 0), at_most=long)
        elif short > 0 and long < 0 and own.get(Kind.CACHE_WRITE_1H):
            _swap(matching, cell, -min(short, -long), [])


def _explain_writes(matching: Matching, cell: Cell, *, at_least: int, at_most: int) -> None:
    rows = matching.records(cell, cache_write_5m_tokens__gt=0)
    exact = [row for row in rows if row["cache_write_5m_tokens"] == at_least]
    within = [row for row in rows if at_least <= row["cache_write_5m_tokens"] <= at_most]
    chosen = exact or within
    count = chosen[0]["cache_write_5m_tokens"] if chosen else at_least
    if count and count <= at_most:
        _swap(matching, cell, count, chosen[:1])


def _swap(matching: Matching, cell: Cell, count: int, rows: list[dict[str, Any]]) -> None:
    """Explain writes of which the bill has `count` more for an hour and fewer for 5 minutes."""
    tokens: Tokens = {Kind.CACHE_WRITE_5M: -count, Kind.CACHE_WRITE_1H: count}
    matching.take(cell, tokens)
    billed, recorded = ("1 hour", "5 minutes") if count > 0 else ("5 minutes", "1 hour")
    matching.items.append(
        Item(
            causes.WRITE_LIFETIME,
            f"{cell.model}: {abs(count):,} tokens billed as written for {billed}, recorded for {recorded}",
            matching.parts(tokens, cell),
            records=[row["id"] for row in rows],
            lines=matching.lines(cell),
        )
    )
