"""
Budget reservations: a request's maximum cost is reserved before the upstream is contacted, its actual cost spent after.

Both happen in the transactions of the ledger, on locked periods (`keys/budgets/locked_periods.py`), so that budgets are
exact under any concurrency. A request with several budgets reserves in all of them, or in none.
"""

from collections.abc import Iterable
from dataclasses import dataclass

Reservation = list[int]
"""The ID of a budget, and the amount that is reserved in its period that contains the admission."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BudgetRef:
    """A budget of a key's requests. Its amount is read when it is reserved: it may change at any time."""

    id: int
    scope: str
    """`key` or `team`."""
    period: str
    """`day`, `week`, `month` or `total`."""
    unit: str
    """`usd` or `tokens`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReservationRequest:
    """The amount that a request must reserve of a budget."""

    budget: BudgetRef
    amount: int
    """Micro-dollars, rounded up, or tokens."""


def reservation_requests(budgets: Iterable[BudgetRef], *, micros: int, tokens: int) -> list[ReservationRequest]:
    """Return what a request with this maximum cost reserves of each budget."""
    return [ReservationRequest(budget=each, amount=micros if each.unit == "usd" else tokens) for each in budgets]
