"""What imported bills say about a period, for the proof of figures: explained and unexplained, by upstream."""

from dataclasses import dataclass
from datetime import date

from keys.bills.reconciliation import reconcile
from keys.models import Bill
from lib.pace import Pace, no_pace


@dataclass(frozen=True, slots=True)
class BillCheck:
    """Amounts of an upstream in pico-dollars, over the days that its bills have."""

    upstream: str
    days: int
    recorded: int
    billed: int
    explained: int
    unexplained: int
    unexplained_days: list[date]
    """The days with an unexplained amount or unexplained tokens."""


def bill_check(first: date, last: date, *, pace: Pace = no_pace) -> list[BillCheck]:
    """Reconcile every upstream with a bill of these UTC days. An upstream without one is not in the result."""
    bills = Bill.objects.filter(state=Bill.State.IMPORTED, first_day__lte=last, last_day__gte=first)
    return [_check(upstream, first, last, pace) for upstream in sorted(set(bills.values_list("upstream", flat=True)))]


def _check(upstream: str, first: date, last: date, pace: Pace) -> BillCheck:
    result = reconcile(upstream, first, last, pace=pace)
    unexplained = {day.day for day in result.days if day.unexplained}
    return BillCheck(
        upstream=upstream,
        days=len(result.days),
        recorded=result.recorded,
        billed=result.billed,
        explained=sum(result.causes.values()),
        unexplained=result.unexplained,
        unexplained_days=sorted(unexplained | {cell.day for cell in result.unexplained_tokens}),
    )
