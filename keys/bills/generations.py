"""Matching of exports with a line per request: by the message ID that the response had, amount by amount."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from keys.bills import causes
from keys.bills.billed import Billed
from keys.bills.causes import ALL, Item, evidence
from keys.bills.cells import Cell, canonical
from keys.bills.money_causes import Amounts
from keys.bills.own import OwnCell, OwnFigures, name_of, of_day
from keys.bills.token_causes import Matching
from keys.bills.unit_prices import UnitPrices
from keys.models import Bill
from keys.pricing.price_book import PriceBook
from lib.pace import Pace

COLUMNS = ("id", "message_id", "served_model", "upstream_model", "model", "cost_usd_picos", "vendor_cost_usd_picos")
LINE_COLUMNS = ("day", "message_id", "model", "provider_key", "is_byok", "amount_usd_picos", "position")
TEXTS = {
    causes.BYOK: "a key of another provider, whose bill has the cost",
    causes.UNPRICED: "no price; the bill has the cost",
    causes.PRICE: "the prices differ from the cost that the provider reported with the response",
    causes.FOREIGN_KEY: "not requested by the gateway",
    causes.MISSING_RECORD: "no usage record",
    causes.LATE_DATA: "not on the bill yet; import a newer export",
    causes.DAY_BOUNDARY: "recorded on one day, billed on another",
}


@dataclass(slots=True)
class _Group:
    """Requests of a day and model with the same cause."""

    picos: int = 0
    count: int = 0
    records: list[str] = field(default_factory=list)
    positions: list[str] = field(default_factory=list)

    def add(self, picos: int, record: Any, line: Any) -> None:
        self.picos += picos
        self.count += 1
        if record and len(self.records) < causes.MAX_EVIDENCE:
            self.records.append(record["id"])
        if line and len(self.positions) < causes.MAX_EVIDENCE:
            self.positions.append(line["position"])


class _Matcher:
    def __init__(self, amounts: Amounts, last_day: date) -> None:
        self._amounts = amounts
        self._last_day = last_day
        self._groups: dict[tuple[str, date, str], _Group] = defaultdict(_Group)
        self._lines: dict[str, Any] = {}
        """Lines without a record so far, by message ID."""
        self._records: dict[str, tuple[date, Any]] = {}
        """Records without a line so far."""
        self._own_keys: set[str] = set()

    def add_day(self, day: date, records: dict[str, Any], lines: list[Any]) -> None:
        for line in lines:
            record = records.pop(line["message_id"], None)
            if record is None:
                self._lines[line["message_id"]] = line
            else:
                self._compare(day, record, line)
        self._records |= {id: (day, record) for id, record in records.items()}

    def finish(self, chosen_keys: set[str]) -> None:
        for id in self._records.keys() & self._lines.keys():
            day, record = self._records.pop(id)
            line = self._lines.pop(id)
            picos = record["cost_usd_picos"] or 0
            self._note(causes.DAY_BOUNDARY, day, record, line, -picos)
            self._note(causes.DAY_BOUNDARY, line["day"], record, line, picos)
            self._compare(line["day"], record, line)
        own_keys = chosen_keys or self._own_keys
        for line in self._lines.values():
            is_own = line["provider_key"] in own_keys or not own_keys
            cause = causes.MISSING_RECORD if is_own else causes.FOREIGN_KEY
            self._note(cause, line["day"], None, line, line["amount_usd_picos"])
        for day, record in self._records.values():
            if picos := record["cost_usd_picos"]:
                cause = causes.LATE_DATA if day == self._last_day else ""
                self._note(cause, day, record, None, -picos)

    def _compare(self, day: date, record: Any, line: Any) -> None:
        self._own_keys.add(line["provider_key"])
        own, difference = record["cost_usd_picos"], line["amount_usd_picos"] - (record["cost_usd_picos"] or 0)
        if not difference:
            return
        if line["is_byok"]:
            cause = causes.BYOK
        elif own is None:
            cause = causes.UNPRICED
        else:
            cause = causes.PRICE if record["vendor_cost_usd_picos"] == line["amount_usd_picos"] else ""
        self._note(cause, day, record, line, difference)

    def _note(self, cause: str, day: date, record: Any, line: Any, picos: int) -> None:
        if day not in self._amounts.matching.days:
            return
        model = canonical(line["model"] if line else name_of(record))
        if cause:
            self._groups[cause, day, model].add(picos, record, line)
        else:
            self._amounts.rest[day, model, ALL] += picos

    def items(self, bills: dict[date, Bill]) -> list[Item]:
        found = []
        for (cause, day, model), group in sorted(self._groups.items()):
            text = f"{model}: {group.count:,} request{'s'[: group.count != 1]}: {TEXTS[cause]}"
            lines = [evidence(bills[day], group.positions, group.count)] if group.positions else []
            found.append(Item(cause, text, {(day, model, ALL): group.picos}, records=group.records, lines=lines))
        return found


def match(upstream: str, billed: Billed, book: PriceBook, own_keys: set[str], pace: Pace) -> Amounts:
    """Explain each line and each record of the bill's days."""
    figures, bills = OwnFigures(), billed.amount_bills
    matching = Matching(upstream, figures, billed, UnitPrices(upstream, book), set(bills))
    amounts = Amounts(matching, [])
    matcher = _Matcher(amounts, max(bills))
    around = {day + timedelta(days=step) for day in bills for step in (-1, 0, 1)}
    for day in sorted(around):
        records = {}
        for row in of_day(upstream, day).values(*COLUMNS).iterator():
            own = figures.cells.setdefault(Cell(day, canonical(name_of(row))), OwnCell())
            own.add({}, {ALL: row["cost_usd_picos"] or 0}, name=name_of(row))
            id = row["message_id"]
            records[row["id"] if not id or id in records else id] = row
            pace()
        lines = list(bills[day].lines.filter(day=day).values(*LINE_COLUMNS)) if day in bills else []
        matcher.add_day(day, records, lines)
    matcher.finish(own_keys)
    matching.items += matcher.items(bills)
    return amounts
