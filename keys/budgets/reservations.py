"""
Budgets, exact however many calls run at once: what a call may cost at most is held before it is made, and what it did
cost is spent after it.

Both happen inside the ledger's transactions, which lock the rows of a budget's periods in the order of their ids. A
call that is charged to several budgets holds of all of them, or of none.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q
from django.utils import timezone

from keys.budgets import alerts
from keys.errors import BudgetExceeded
from keys.models import Budget, BudgetPeriod
from keys.pricing.rating import Price, max_cost, max_output
from lib import periods

Reservation = list[int]
"""The id of a budget's period, and the amount that is held of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BudgetRef:
    """A budget that a key's calls are charged to. Its amount is read when it is reserved: it may change at any time."""

    id: int
    scope: str
    """`key` or `team`."""
    period: str
    """`day`, `week`, `month` or `total`."""
    unit: str
    """`money` or `tokens`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReservationRequest:
    """What a call wants to hold of a budget."""

    terms: BudgetRef
    amount: int


def claims(
    terms: Iterable[BudgetRef],
    *,
    input_tokens: int,
    max_tokens: int,
    prices: Sequence[Price | None],
    may_write_cache: bool,
) -> list[ReservationRequest]:
    """What a call may cost at most, whichever of the models with these prices answers it. None: it has no price."""
    money = max(
        (
            max_cost(input_tokens=input_tokens, max_tokens=max_tokens, price=price, may_write_cache=may_write_cache)
            for price in prices
            if price is not None
        ),
        default=0,
    )
    tokens = input_tokens + max((max_output(max_tokens, price) for price in prices), default=max_tokens)
    return [ReservationRequest(terms=each, amount=money if each.unit == "usd" else tokens) for each in terms]


class LockedPeriods:
    """The periods that the statements of one transaction touch, locked; what they change is written by `close`."""

    def __init__(self, *, claimed: Iterable[tuple[int, datetime]], held: Iterable[int]) -> None:
        self._rows: dict[int, BudgetPeriod] = {}
        self._by_begin: dict[tuple[int, datetime], BudgetPeriod] = {}
        self._dirty: dict[int, BudgetPeriod] = {}
        wanted = Q(pk__in=set(held))
        for budget_id, begin in _made_sure_of(sorted(set(claimed))):
            wanted |= Q(budget_id=budget_id, starts_at=begin)
        if wanted != Q(pk__in=set()):
            rows = BudgetPeriod.objects.select_for_update(of=("self",)).select_related("budget")
            for row in rows.filter(wanted).order_by("pk"):
                self._rows[row.pk] = self._by_begin[row.budget_id, row.starts_at] = row

    def reserve(self, claims: Iterable[ReservationRequest], *, at: datetime) -> list[Reservation]:
        """Hold of all budgets what the call claims. Raise BudgetSpent, and hold nothing, if one has less left."""
        reservations: list[Reservation] = []
        for claim in claims:
            row = self._by_begin.get((claim.terms.id, periods.begin_of(claim.terms.period, at)))
            if row is None:
                continue  # the budget was removed a moment ago
            limit = row.budget.limit_at(at)
            if row.spent + row.reserved + claim.amount > limit:
                raise BudgetExceeded(
                    scope=claim.terms.scope,
                    period=claim.terms.period,
                    unit=claim.terms.unit,
                    limit=limit,
                    remaining=max(0, limit - row.spent - row.reserved),
                    needed=claim.amount,
                    resets_at=periods.end_of(claim.terms.period, row.starts_at),
                )
            reservations.append([row.pk, claim.amount])
        for period_id, amount in reservations:
            self._rows[period_id].reserved += amount
            self._dirty[period_id] = self._rows[period_id]
        return reservations

    def settle(self, reservations: Iterable[Reservation], *, money: int, tokens: int) -> None:
        """Turn what a call held into what it spent."""
        for period_id, amount in reservations:
            row = self._rows.get(period_id)
            if row is None:
                continue  # the budget was removed meanwhile
            row.reserved = max(0, row.reserved - amount)
            row.spent += money if row.budget.unit == "usd" else tokens
            self._dirty[period_id] = row
            self._warn(row)

    def _warn(self, row: BudgetPeriod) -> None:
        now = timezone.now()
        percent, limit = row.budget.alert_threshold_percent, row.budget.limit_at(now)
        if percent is None or row.alerted_at is not None or row.spent * 100 < limit * percent:
            return
        ends_at = periods.end_of(row.budget.period, row.starts_at)
        if ends_at is not None and ends_at <= now:
            return  # a call that began in a period and ended after it: there is nothing to be warned of
        row.alerted_at = now
        alerts.note_budget(row, limit=limit)

    def close(self) -> None:
        """Write what changed, in the order of the locks."""
        for period_id in sorted(self._dirty):
            row = self._dirty[period_id]
            BudgetPeriod.objects.filter(pk=row.pk).update(
                spent=row.spent, reserved=row.reserved, alerted_at=row.alerted_at
            )
        self._dirty.clear()


def wanted(claims: Iterable[ReservationRequest], *, at: datetime) -> list[tuple[int, datetime]]:
    """The periods that some claims are made on."""
    return [(claim.terms.id, periods.begin_of(claim.terms.period, at)) for claim in claims]


def _made_sure_of(claimed: list[tuple[int, datetime]]) -> list[tuple[int, datetime]]:
    """The same periods, each with a row. Rows are made before any is locked, so that nobody waits in a circle."""
    if claimed:
        budgets = {budget_id for budget_id, _ in claimed}
        begins = {begin for _, begin in claimed}
        rows = BudgetPeriod.objects.filter(budget_id__in=budgets, starts_at__in=begins)
        there = set(rows.values_list("budget_id", "starts_at"))
        standing = set(Budget.objects.filter(pk__in=budgets).values_list("pk", flat=True))
        missing = [each for each in claimed if each not in there and each[0] in standing]
        new = [BudgetPeriod(budget_id=budget_id, starts_at=begin) for budget_id, begin in missing]
        BudgetPeriod.objects.bulk_create(new, ignore_conflicts=True)
    return claimed
