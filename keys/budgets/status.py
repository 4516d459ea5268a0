"""How budgets stand at a moment: what is spent, held and left, and when they begin anew."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q
from django.utils import timezone

from keys.models import APIKey, Budget, BudgetPeriod
from lib import periods


@dataclass(frozen=True, kw_only=True, slots=True)
class BudgetStatus:
    """A budget in its current period. Amounts are micro-dollars or tokens, as its unit says."""

    budget: Budget
    scope: str
    """`key` or `team`."""
    limit: int
    """With the increase that stands now."""
    spent: int
    reserved: int
    resets_at: datetime | None
    """None: it never does."""

    @property
    def left(self) -> int:
        return max(0, self.limit - self.spent - self.reserved)

    @property
    def used(self) -> int:
        """Spent, or held by running calls."""
        return self.spent + self.reserved

    @property
    def is_increased(self) -> bool:
        """Whether more is allowed for now."""
        return self.limit != self.budget.amount

    @property
    def percent(self) -> int:
        """How much of it is spent or held, 100 at most."""
        if self.limit <= 0:
            return 100
        return min(100, round(100 * (self.spent + self.reserved) / self.limit))

    @property
    def is_near(self) -> bool:
        """Whether its warning threshold is reached."""
        percent = self.budget.alert_threshold_percent
        return percent is not None and self.spent * 100 >= self.limit * percent


def of_key(api_key: APIKey) -> list[BudgetStatus]:
    """The budgets that a key's calls are charged to: its own, then its team's. Two queries."""
    of_team = Q(team_id=api_key.team_id) if api_key.team_id else Q(pk__in=[])
    rows = Budget.objects.filter(Q(api_key=api_key) | of_team)
    return sorted(of_budgets(rows), key=lambda standing: (standing.scope, standing.budget.pk))


def of_budgets(budgets: Iterable[Budget]) -> list[BudgetStatus]:
    """How each of some budgets stands. One query, however many they are."""
    now = timezone.now()
    rows = list(budgets)
    begins = {period: periods.begin_of(period, now) for period in Budget.Period.values}
    found = BudgetPeriod.objects.filter(budget__in=rows, starts_at__in=begins.values())
    by_place = {(period.budget_id, period.starts_at): period for period in found}
    return [_standing(row, by_place.get((row.pk, begins[row.period])), now, begins[row.period]) for row in rows]


def _standing(row: Budget, period: BudgetPeriod | None, now: datetime, begin: datetime) -> BudgetStatus:
    return BudgetStatus(
        budget=row,
        scope="key" if row.api_key_id else "team",
        limit=row.limit_at(now),
        spent=period.spent if period else 0,
        reserved=period.reserved if period else 0,
        resets_at=periods.end_of(row.period, begin),
    )
