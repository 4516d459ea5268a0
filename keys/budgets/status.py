"""Budget status: what is spent, reserved and remaining in the current period, and when it resets."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q
from django.utils import timezone

from keys.domain import amounts
from keys.models import APIKey, Budget, BudgetPeriod
from lib import periods


@dataclass(frozen=True, kw_only=True, slots=True)
class BudgetStatus:
    """A budget in its current period. Amounts are pico-dollars or tokens, as its unit says."""

    budget: Budget
    scope: str
    """`key` or `team`."""
    limit: int
    """With the temporary increase."""
    spent: int
    reserved: int
    resets_at: datetime | None
    """None: it never resets."""

    @property
    def remaining(self) -> int:
        return max(0, self.limit - self.spent - self.reserved)

    @property
    def used(self) -> int:
        """Spent or reserved."""
        return self.spent + self.reserved

    @property
    def is_increased(self) -> bool:
        """Whether a temporary increase is in effect."""
        return self.limit != amounts.exact(self.budget.amount, self.budget.unit)

    @property
    def percent(self) -> int:
        """The used share of the limit, 100 at most."""
        if self.limit <= 0:
            return 100
        return min(100, (200 * self.used + self.limit) // (2 * self.limit))

    @property
    def is_above_alert_threshold(self) -> bool:
        percent = self.budget.alert_threshold_percent
        return percent is not None and self.spent * 100 >= self.limit * percent


def for_key(api_key: APIKey) -> list[BudgetStatus]:
    """Return the status of a key's budgets: its own, then those of its team. Two queries."""
    of_team = Q(team_id=api_key.team_id) if api_key.team_id else Q(pk__in=[])
    rows = Budget.objects.filter(Q(api_key=api_key) | of_team)
    return sorted(for_budgets(rows), key=lambda status: (status.scope, status.budget.pk))


def for_budgets(budgets: Iterable[Budget]) -> list[BudgetStatus]:
    """Return the status of each budget. One query."""
    now = timezone.now()
    rows = list(budgets)
    found = BudgetPeriod.objects.filter(budget__in=rows, ends_at__gt=now, starts_at__lte=now)
    current = {period.budget_id: period for period in found}
    return [_status(row, current.get(row.pk), now) for row in rows]


def _status(row: Budget, period: BudgetPeriod | None, now: datetime) -> BudgetStatus:
    if period is not None:
        period.budget = row  # which knows the unit, without a query
    return BudgetStatus(
        budget=row,
        scope="key" if row.api_key_id else "team",
        limit=amounts.exact(row.limit_at(now), row.unit),
        spent=period.spent_exactly if period else 0,
        reserved=amounts.exact(period.reserved, row.unit) if period else 0,
        resets_at=period.resets_at if period else periods.end_of(row.period, periods.begin_of(row.period, now)),
    )
