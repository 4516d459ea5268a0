"""
Budget periods of one transaction, locked in the order of their IDs, so that no two transactions deadlock.

The periods of a budget follow each other without overlap. The period of a request is the one that contains its
admission: looked up when it settles, since a change of the reporting time zone moves the bounds of periods.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Max, Min, QuerySet

from keys.budgets import alerts, period_rows
from keys.budgets.period_rows import LockedPeriod
from keys.budgets.reservations import BudgetRef, Reservation, ReservationRequest
from keys.domain import amounts
from keys.domain.limits import BudgetStanding
from keys.errors import BudgetExceeded
from keys.models import Budget, BudgetPeriod
from lib import periods

RequiredPeriod = tuple[BudgetRef, datetime]
"""A budget, and a moment that one of its periods must contain."""


class PeriodsMoved(Exception):
    """The periods of a budget were moved while this transaction waited for their locks. Begin it again."""


class LockedPeriods:
    """The budget periods that one transaction touches, locked. `close` writes their changes."""

    def __init__(
        self,
        *,
        connection: BaseDatabaseWrapper,
        required: Sequence[RequiredPeriod],
        reserved: Iterable[tuple[int, datetime]],
        creates_required: bool = True,
        is_last_attempt: bool = True,
    ) -> None:
        """Create the required periods, and lock them with those of the reservations of earlier admissions.

        On the last attempt, a period that is not found is that of a deleted budget. On others, PeriodsMoved is raised.
        Almost always all exist: an attempt that creates none costs no query for them.
        """
        self._connection = connection
        self._is_last_attempt = is_last_attempt
        self._rows: dict[int, list[LockedPeriod]] = {}
        self._changed: dict[int, LockedPeriod] = {}
        if creates_required:
            ensure_periods(required)
        first: dict[int, datetime] = {}
        for budget_id, at in [*((budget.id, at) for budget, at in required), *reserved]:
            first[budget_id] = min(at, first.get(budget_id, at))
        if first:
            for row in period_rows.lock(connection, first):
                self._rows.setdefault(row.budget_id, []).append(row)

    def _find(self, budget_id: int, at: datetime) -> LockedPeriod | None:
        """Return the period of a budget that contains a moment, or None if the budget was deleted meanwhile."""
        for row in self._rows.get(budget_id, ()):
            if row.contains(at):
                return row
        if not self._is_last_attempt and Budget.objects.filter(pk=budget_id).exists():
            raise PeriodsMoved
        return None

    def reserve(
        self, requests: Iterable[ReservationRequest], *, at: datetime
    ) -> tuple[list[Reservation], list[BudgetStanding]]:
        """Reserve in every budget, atomically. Raise BudgetExceeded and reserve nothing if one lacks the amount.

        Return the reservations, and how much of each budget is spent.
        """
        reserved: list[tuple[LockedPeriod, int]] = []
        standings: list[BudgetStanding] = []
        for request in requests:
            row = self._find(request.budget.id, at)
            if row is None:
                continue  # the budget was just deleted
            limit = row.budget.limit_at(at)
            standings.append(BudgetStanding(row.spent_exactly, amounts.exact(limit, row.budget.unit), row.resets_at))
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
            reserved.append((row, request.amount))
        for row, amount in reserved:
            row.reserved += amount
            self._changed[row.id] = row
        return [[row.budget_id, amount] for row, amount in reserved], standings

    def settle(self, reservations: Iterable[Reservation], *, at: datetime, picos: int, tokens: int) -> None:
        """Replace the reservations of a request that was admitted then by what it spent.

        Less than 0 corrects what it spent before.
        """
        for budget_id, amount in reservations:
            row = self._find(budget_id, at)
            if row is None:
                continue  # the budget was deleted meanwhile
            row.reserved = max(0, row.reserved - amount)
            row.spend(picos if row.budget.unit == "usd" else tokens)
            self._changed[row.id] = row
            alerts.queue_if_due(row)

    def close(self) -> None:
        """Write the changed periods."""
        if self._changed:
            period_rows.write(self._connection, self._changed.values())
            self._changed.clear()


def ensure_periods(required: Sequence[RequiredPeriod]) -> None:
    """Create the periods that do not exist.

    Their budgets are locked meanwhile, so that no two transactions create periods that overlap, and before any period,
    so that no two transactions deadlock.
    """
    missing = _without_period(required)
    if not missing:
        return
    ids = {budget.id for budget, _ in missing}
    existing = set(lock_budgets(ids).values_list("pk", flat=True))
    for budget, at in _without_period(missing):
        if budget.id in existing and _without_period([(budget, at)]):
            _create_period(budget, at)


def lock_budgets(ids: Iterable[int]) -> QuerySet[Budget]:
    """Return budgets in the order of their locks. Until the transaction ends, no other one creates their periods."""
    return Budget.objects.select_for_update(no_key=True, of=("self",)).filter(pk__in=ids).order_by("pk")


def _without_period(required: Sequence[RequiredPeriod]) -> list[RequiredPeriod]:
    """Return those that no period contains. One query."""
    if not required:
        return []
    ids, first = {budget.id for budget, _ in required}, min(at for _, at in required)
    bounds: dict[int, list[tuple[datetime, datetime]]] = {}
    rows = BudgetPeriod.objects.filter(budget_id__in=ids, ends_at__gt=first).order_by()
    for budget_id, starts_at, ends_at in rows.values_list("budget_id", "starts_at", "ends_at"):
        bounds.setdefault(budget_id, []).append((starts_at, ends_at))
    return [
        (budget, at)
        for budget, at in required
        if not any(starts_at <= at < ends_at for starts_at, ends_at in bounds.get(budget.id, ()))
    ]


def _create_period(budget: BudgetRef, at: datetime) -> None:
    """Create the period that contains a moment, between its neighbors, which may follow another time zone."""
    begin, end = periods.bounds_of(budget.period, at)
    rows = BudgetPeriod.objects.filter(budget_id=budget.id).order_by()
    before = rows.filter(ends_at__lte=at, ends_at__gt=begin).aggregate(end=Max("ends_at"))["end"]
    after = rows.filter(starts_at__gt=at, starts_at__lt=end).aggregate(begin=Min("starts_at"))["begin"]
    BudgetPeriod.objects.create(budget_id=budget.id, starts_at=before or begin, ends_at=after or end)
