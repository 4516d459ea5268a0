"""
Budget reservations: a request's maximum cost is reserved before the upstream is contacted, its actual cost spent after.

Both happen in the transactions of the ledger, which lock the rows of budget periods in the order of their IDs, so that
budgets are exact under any concurrency. A request with several budgets reserves in all of them, or in none.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q
from django.utils import timezone

from keys.budgets import alerts
from keys.domain import amounts
from keys.domain.limits import BudgetStanding
from keys.errors import BudgetExceeded
from keys.models import Budget, BudgetPeriod
from keys.pricing.rating import Price, max_cost, max_output
from lib import periods

Reservation = list[int]
"""The ID of a budget period, and the amount that is reserved in it."""


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


def reservation_requests(
    budgets: Iterable[BudgetRef],
    *,
    input_tokens: int,
    max_tokens: int,
    prices: Sequence[Price | None],
    may_write_cache: bool,
) -> list[ReservationRequest]:
    """Return the maximum cost of a request in each budget, over the models with these prices. None: unpriced."""
    micros = max(
        (
            max_cost(input_tokens=input_tokens, max_tokens=max_tokens, price=price, may_write_cache=may_write_cache)
            for price in prices
            if price is not None
        ),
        default=0,
    )
    tokens = input_tokens + max((max_output(max_tokens, price) for price in prices), default=max_tokens)
    return [ReservationRequest(budget=each, amount=micros if each.unit == "usd" else tokens) for each in budgets]


class LockedPeriods:
    """The budget periods that one transaction touches, locked. `close` writes their changes."""

    def __init__(self, *, required: Iterable[tuple[int, datetime]], reserved_ids: Iterable[int]) -> None:
        self._rows: dict[int, BudgetPeriod] = {}
        self._by_start: dict[tuple[int, datetime], BudgetPeriod] = {}
        self._changed: dict[int, BudgetPeriod] = {}
        needed = Q(pk__in=set(reserved_ids))
        for budget_id, starts_at in _with_rows(sorted(set(required))):
            needed |= Q(budget_id=budget_id, starts_at=starts_at)
        if needed != Q(pk__in=set()):
            rows = BudgetPeriod.objects.select_for_update(of=("self",)).select_related("budget")
            for row in rows.filter(needed).order_by("pk"):
                self._rows[row.pk] = self._by_start[row.budget_id, row.starts_at] = row

    def reserve(
        self, requests: Iterable[ReservationRequest], *, at: datetime
    ) -> tuple[list[Reservation], list[BudgetStanding]]:
        """Reserve in every budget, atomically. Raise BudgetExceeded and reserve nothing if one lacks the amount.

        Return the reservations, and how much of each budget is spent.
        """
        reservations: list[Reservation] = []
        standings: list[BudgetStanding] = []
        for request in requests:
            row = self._by_start.get((request.budget.id, periods.begin_of(request.budget.period, at)))
            if row is None:
                continue  # the budget was just deleted
            limit = row.budget.limit_at(at)
            resets_at = periods.end_of(request.budget.period, row.starts_at)
            standings.append(BudgetStanding(row.spent_exactly, amounts.exact(limit, row.budget.unit), resets_at))
            if row.used + request.amount > limit:
                raise BudgetExceeded(
                    scope=request.budget.scope,
                    period=request.budget.period,
                    unit=request.budget.unit,
                    standing=standings[-1],
                    limit=limit,
                    remaining=max(0, limit - row.used),
                    needed=request.amount,
                )
            reservations.append([row.pk, request.amount])
        for period_id, amount in reservations:
            self._rows[period_id].reserved += amount
            self._changed[period_id] = self._rows[period_id]
        return reservations, standings

    def settle(self, reservations: Iterable[Reservation], *, picos: int, tokens: int) -> None:
        """Replace the reservations of a request by what it spent; less than 0 corrects what it spent before."""
        for period_id, amount in reservations:
            row = self._rows.get(period_id)
            if row is None:
                continue  # the budget was deleted meanwhile
            row.reserved = max(0, row.reserved - amount)
            row.spend(picos if row.budget.unit == "usd" else tokens)
            self._changed[period_id] = row
            self._alert(row)

    def _alert(self, row: BudgetPeriod) -> None:
        now = timezone.now()
        percent, limit = row.budget.alert_threshold_percent, row.budget.limit_at(now)
        if percent is None or row.alerted_at is not None:
            return
        if row.spent_exactly * 100 < amounts.exact(limit, row.budget.unit) * percent:
            return
        ends_at = periods.end_of(row.budget.period, row.starts_at)
        if ends_at is not None and ends_at <= now:
            return  # the request started in a period that is over by now
        row.alerted_at = now
        alerts.queue_alert(row, limit=limit)

    def close(self) -> None:
        """Write the changed periods, in the order of their locks."""
        for period_id in sorted(self._changed):
            row = self._changed[period_id]
            BudgetPeriod.objects.filter(pk=row.pk).update(
                spent=row.spent,
                spent_rest_picos=row.spent_rest_picos,
                reserved=row.reserved,
                alerted_at=row.alerted_at,
            )
        self._changed.clear()


def required_periods(requests: Iterable[ReservationRequest], *, at: datetime) -> list[tuple[int, datetime]]:
    """Return the budget ID and the start of each period in which the requests reserve."""
    return [(request.budget.id, periods.begin_of(request.budget.period, at)) for request in requests]


def _with_rows(required: list[tuple[int, datetime]]) -> list[tuple[int, datetime]]:
    """Return the same periods, each with a row.

    Rows are inserted before any is locked, so that no two transactions deadlock.
    """
    if required:
        budgets = {budget_id for budget_id, _ in required}
        starts = {starts_at for _, starts_at in required}
        rows = BudgetPeriod.objects.filter(budget_id__in=budgets, starts_at__in=starts)
        existing = set(rows.values_list("budget_id", "starts_at"))
        existing_budgets = set(Budget.objects.filter(pk__in=budgets).values_list("pk", flat=True))
        missing = [each for each in required if each not in existing and each[0] in existing_budgets]
        new = [BudgetPeriod(budget_id=budget_id, starts_at=starts_at) for budget_id, starts_at in missing]
        BudgetPeriod.objects.bulk_create(new, ignore_conflicts=True)
    return required
