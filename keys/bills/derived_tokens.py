"""Differences in tokens from a bill that has amounts only: an amount that differs by whole tokens shows how many."""

from collections.abc import Iterable

from keys.bills.billed import Amount
from keys.bills.cells import GROUPS, KINDS, Cell, Tokens
from keys.bills.lines import TOKEN_KINDS, Kind
from keys.bills.own import OwnCell, OwnFigures
from keys.bills.unit_prices import UnitPrices

MAX_UNIT = 10**6
"""Pico-dollars. Amounts in cents do not show single tokens."""
WRITES = (Kind.CACHE_WRITE_5M, Kind.CACHE_WRITE_1H)


def derived(amounts: Iterable[Amount], own: OwnFigures, prices: UnitPrices) -> dict[Cell, Tokens]:
    """Return billed minus recorded tokens by cell. A cell whose amounts do not show whole tokens is left out."""
    by_cell: dict[Cell, dict[str, int]] = {}
    coarse: set[Cell] = set()
    for each in amounts:
        if each.kind in TOKEN_KINDS:
            billed = by_cell.setdefault(each.cell, {})
            billed[each.kind] = billed.get(each.kind, 0) + (each.picos if each.listed is None else each.listed)
        if each.kind == Kind.ALL_TOKENS or each.tolerance > each.lines * MAX_UNIT or each.is_byok:
            coarse.add(each.cell)
    if not by_cell:
        return {}
    days = {cell.day for cell in by_cell}
    cells = {*by_cell, *(cell for cell in own.cells if cell.day in days)} - coarse
    found = {
        cell: tokens
        for cell in cells
        if (tokens := _difference(cell, by_cell.get(cell, {}), own.cells.get(cell, OwnCell()), prices))
    }
    return found


def _difference(cell: Cell, billed: dict[str, int], own: OwnCell, prices: UnitPrices) -> Tokens | None:
    if own.unpriced or _is_one_factor(billed, own):
        return None
    recorded = _costs(cell, own, prices)
    if recorded is None:
        return None
    tokens: Tokens = {}
    for kind in KINDS:
        if not (picos := billed.get(kind, 0) - recorded.get(kind, 0)) or kind == Kind.WEB_SEARCH:
            continue
        price = prices.of(kind, cell)
        if not price or picos % price:
            return None
        tokens[kind] = picos // price
    return tokens


def _costs(cell: Cell, own: OwnCell, prices: UnitPrices) -> dict[str, int] | None:
    """Return the recorded cost by kind. Records have one cost for both kinds of writes: it is split by their prices."""
    costs: dict[str, int] = {kind: own.picos.get(GROUPS[kind], 0) for kind in TOKEN_KINDS if kind not in WRITES}
    writes = {kind: own.tokens.get(kind, 0) for kind in WRITES}
    together = own.picos.get("cache_write", 0)
    used = [kind for kind, count in writes.items() if count]
    if len(used) < 2:
        return costs | dict.fromkeys(used, together)
    split = {kind: count * (prices.of(kind, cell) or 0) for kind, count in writes.items()}
    return costs | split if sum(split.values()) == together else None


def _is_one_factor(billed: dict[str, int], own: OwnCell) -> bool:
    """Return whether all amounts differ by one factor: that is a price, not tokens."""
    groups: dict[str, int] = {}
    for kind, picos in billed.items():
        group = GROUPS[Kind(kind)]
        groups[group] = groups.get(group, 0) + picos
    recorded = {group: picos for group, picos in own.picos.items() if picos and group != "item"}
    if len(recorded) < 2 or groups.keys() != recorded.keys():
        return False
    first = next(iter(recorded))
    is_same = all(groups[group] * recorded[first] == groups[first] * recorded[group] for group in recorded)
    return is_same and groups[first] != recorded[first]
