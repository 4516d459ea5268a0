"""The proof of a period: its days, one after the other, and its imported bills."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import date
from typing import Any

from keys.bills.check import BillCheck, bill_check
from keys.reports.totals import Totals
from keys.verification import figures
from keys.verification.figures import Disagreement
from lib import money

KEPT = 1_000
"""Disagreements that are kept. The others are counted."""


class Proof:
    """What was verified so far, in bounded memory."""

    def __init__(self) -> None:
        self.total = Totals()
        self.days: list[date] = []
        self.number = 0
        self.kept: list[Disagreement] = []
        self.bills: list[BillCheck] = []

    def add_day(self, day: date) -> None:
        recorded, found = figures.verify(day)
        self.total += recorded
        self.days.append(day)
        self._add(found)

    def add_bills(self, first: date, last: date) -> None:
        self.bills = bill_check(first, last)
        for bill in self.bills:
            self._add(list(_unexplained(bill)))

    def _add(self, found: list[Disagreement]) -> None:
        self.number += len(found)
        self.kept += found[: KEPT - len(self.kept)]

    def as_json(self) -> dict[str, Any]:
        amounts = ("recorded", "billed", "explained", "unexplained")
        return {
            "days": len(self.days),
            "disagreements": self.number,
            "found": list(map(asdict, self.kept)),
            "bills": [
                {"upstream": bill.upstream, "days": bill.days}
                | {name: money.decimal(getattr(bill, name)) for name in amounts}
                for bill in self.bills
            ],
        }


def _unexplained(bill: BillCheck) -> Iterator[Disagreement]:
    """Yield the days of a bill with amounts or tokens that nothing explains."""
    for day in bill.unexplained_days:
        yield Disagreement(
            source="bill",
            place=f"{bill.upstream} {day}",
            figure="amounts or tokens are unexplained; of all days",
            records=money.exact(bill.recorded + bill.explained),
            found=money.exact(bill.billed),
        )
