"""Budgets: what a call may hold of them before it is made, and what it has spent after it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class BudgetTerms:
    """A budget that a key's calls are charged to. Its amount is read when it is reserved: it may change at any time."""

    id: int
    scope: str
    """`key` or `team`."""
    period: str
    """`day`, `week`, `month` or `total`."""
    unit: str
    """`money` or `tokens`."""
