"""What a provider bills for a period: which imported bills count for a day, and their lines by cell."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from django.db.models import Count, F, Max, Min, Q, Sum
from django.db.models.functions import Coalesce

from keys.bills.cells import DIMENSIONS, KINDS, Cell, Tokens, canonical, neutral, plus
from keys.bills.lines import Kind
from keys.models import Bill, BillLine, UpstreamKeys
from lib import money

SHOWN_LINES = 5
AMOUNTS = {"amount": "amount_usd_picos", "listed": "list_amount_usd_picos"}
WITH_QUANTITIES = {Bill.Format.OPENAI_COSTS, Bill.Format.OPENAI_COSTS_CSV}
"""Cost reports that have quantities too, without tier or key: a usage report is the better source of tokens."""
TOKEN_KINDS = {*KINDS, Kind.ALL_TOKENS} - {Kind.WEB_SEARCH}


@dataclass(slots=True)
class Amount:
    """An amount of a day, model and kind."""

    day: date
    model: str
    kind: str
    cell: Cell
    picos: int
    listed: int | None
    """Before discounts."""
    tolerance: int
    """What rounding of its lines can amount to."""
    lines: int
    is_byok: bool
    bill: Bill
    where: Q


@dataclass(slots=True)
class KeyTokens:
    """Tokens of one API key at the provider in a cell."""

    cell: Cell
    provider_key: str
    tokens: Tokens
    bill: Bill
    where: Q


@dataclass(slots=True)
class Billed:
    token_bills: dict[date, Bill] = field(default_factory=dict)
    amount_bills: dict[date, Bill] = field(default_factory=dict)
    tokens: list[KeyTokens] = field(default_factory=list)
    amounts: list[Amount] = field(default_factory=list)
    requests: dict[tuple[date, str], int] = field(default_factory=dict)
    known: tuple[str, ...] = DIMENSIONS
    """The dimensions that the bills of tokens have."""
    keys: set[str] = field(default_factory=set)
    """API keys at the provider that the bills name. Without one, the bill is not grouped by key."""
    names: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    @property
    def days(self) -> list[date]:
        return sorted({*self.token_bills, *self.amount_bills})

    def picos_of(self, day: date) -> int:
        return sum(each.picos for each in self.amounts if each.day == day)

    @property
    def bills(self) -> list[Bill]:
        return list({bill.pk: bill for bill in (*self.token_bills.values(), *self.amount_bills.values())}.values())


def own_keys_of(upstream: str) -> list[str]:
    """Return the API keys at the provider that are the gateway's, as bills name them."""
    row = UpstreamKeys.objects.filter(upstream=upstream).first()
    return [] if row is None else list(row.provider_keys)


def billed(upstream: str, first: date, last: date, *, bill: Bill | None = None) -> Billed:
    """Read the bills of a period. For each day and role, the given bill counts, else the newest with that day."""
    found = Billed()
    bills = Bill.objects.filter(upstream=upstream, first_day__lte=last, last_day__gte=first)
    if bill is None or bill.state != Bill.State.SUPERSEDED:
        bills = bills.filter(state=Bill.State.IMPORTED)
    else:
        bills = bills.filter(Q(state=Bill.State.IMPORTED) | Q(pk=bill.pk))
    for each in sorted(bills.order_by("imported_at", "pk"), key=lambda each: _precedence(each, bill)):
        for day in _days(max(first, each.first_day or first), min(last, each.last_day or last)):
            if each.has_tokens:
                found.token_bills[day] = each
            if each.has_amounts:
                found.amount_bills[day] = each
    found.known = _known_dimensions(found.token_bills.values() or found.amount_bills.values())
    for each in found.bills:
        for row in _grouped(each, first, last):
            if row["day"] in found.token_bills and found.token_bills[row["day"]] == each:
                _add_tokens(found, each, row)
            if row["day"] in found.amount_bills and found.amount_bills[row["day"]] == each:
                _add_amount(found, each, row)
    return found


def _precedence(bill: Bill, preferred: Bill | None) -> tuple[bool, bool, bool]:
    is_rounded = bill.format in (Bill.Format.CONSOLE_COST, Bill.Format.MAPPED_CSV)
    return bill == preferred, not is_rounded, bill.format not in WITH_QUANTITIES


def _days(first: date, last: date) -> Iterator[date]:
    while first <= last:
        yield first
        first += timedelta(days=1)


def _known_dimensions(bills: Iterable[Bill]) -> tuple[str, ...]:
    lines = BillLine.objects.filter(bill__in={bill.pk for bill in bills}, kind__in=TOKEN_KINDS)
    return tuple(name for name in DIMENSIONS if lines.exclude(**{name: ""}).exists())


_GROUPED = ("day", "kind", "model", *DIMENSIONS, "provider_key", "is_byok")


def _grouped(bill: Bill, first: date, last: date) -> Iterator[dict[str, Any]]:
    sums: dict[str, Any] = {"lines": Count("pk"), "unit": Max("unit_usd_picos"), "first_number": Min("number")}
    sums["quantity"] = Coalesce(Sum("quantity"), 0)
    for name, column in AMOUNTS.items():
        sums[f"{name}_whole"] = Sum(F(column) / money.PICOS_PER_MICRO)
        sums[f"{name}_rest"] = Sum(F(column) % money.PICOS_PER_MICRO)
    sums["unlisted"] = Count("pk", filter=Q(list_amount_usd_picos=None))
    rows = bill.lines.filter(day__gte=first, day__lte=last).order_by()
    yield from rows.values(*_GROUPED).annotate(**sums).order_by("first_number")


def _cell(row: dict[str, Any], known: tuple[str, ...]) -> Cell:
    facts = {name: neutral(name, row[name]) if name in known else "" for name in DIMENSIONS}
    return Cell(row["day"], canonical(row["model"]), **facts)


def _where(row: dict[str, Any]) -> Q:
    return Q(**{name: row[name] for name in _GROUPED})


def _add_tokens(found: Billed, bill: Bill, row: dict[str, Any]) -> None:
    if row["kind"] == Kind.REQUEST:
        key = row["day"], canonical(row["model"])
        found.requests[key] = found.requests.get(key, 0) + row["quantity"]
    if row["kind"] not in KINDS or not row["quantity"]:
        return
    if row["provider_key"]:
        found.keys.add(row["provider_key"])
    found.names[canonical(row["model"])].add(row["model"])
    tokens = {row["kind"]: row["quantity"]}
    found.tokens.append(KeyTokens(_cell(row, found.known), row["provider_key"], tokens, bill, _where(row)))


def _add_amount(found: Billed, bill: Bill, row: dict[str, Any]) -> None:
    if row["amount_whole"] is None:
        return
    picos = money.join(int(row["amount_whole"]), int(row["amount_rest"]))
    listed = None if row["unlisted"] else money.join(int(row["listed_whole"]), int(row["listed_rest"]))
    found.names[canonical(row["model"])].add(row["model"])
    found.amounts.append(
        Amount(
            day=row["day"],
            model=canonical(row["model"]),
            kind=row["kind"],
            cell=_cell(row, found.known),
            picos=picos,
            listed=listed,
            tolerance=row["lines"] * row["unit"],
            lines=row["lines"],
            is_byok=row["is_byok"],
            bill=bill,
            where=_where(row),
        )
    )


def sum_by_cell(tokens: Iterable[KeyTokens]) -> dict[Cell, Tokens]:
    cells: dict[Cell, Tokens] = {}
    for each in tokens:
        cells[each.cell] = plus(cells.get(each.cell, {}), each.tokens)
    return cells


def positions(bill: Bill, where: Q) -> tuple[list[str], int]:
    """Return the first positions of lines in the file, and how many there are."""
    lines = bill.lines.filter(where).order_by("number")
    return list(lines.values_list("position", flat=True)[:SHOWN_LINES]), lines.count()
