"""Spend of the current month, with a forecast, against the monthly budgets that bound it."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Min, Q, Sum
from django.utils import timezone

from keys.budgets import status
from keys.models import Budget
from keys.models.teams import Teams, of_teams
from keys.models.usage import part_names
from keys.reports import totals
from keys.reports.date_range import DateRange
from keys.reports.forecast import RATE_DAYS, BudgetMeter, SpendRate, forecast, rate
from keys.reports.totals import Totals
from lib import money, periods

SHOWN = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class MonthSpend:
    """The current month. Amounts are pico-dollars."""

    begin: datetime
    end: datetime
    total: Totals
    expected: int
    """The cost at the end of the month, at the average of the last days."""
    limit: int
    """Sum of the monthly budgets of teams, and of keys that no budget of a team bounds. 0: there are none."""
    used: int
    """Spent or reserved of `limit`."""
    meters: list[BudgetMeter]
    """The budgets that are exhausted first, or have the largest share used."""

    @property
    def percent(self) -> int:
        return min(100, 100 * self.used // self.limit) if self.limit else 0


def month_spend(*, teams: Teams) -> MonthSpend:
    """Read the spend of the month, of some teams or of all keys (None). Four queries."""
    now = timezone.now()
    begin, end = periods.bounds_of("month", now)
    total = totals.total(totals.hourly(begin, end).filter(of_teams(teams)))
    rates, overall = _rates(teams)
    budgets = _bounding(_monthly_budgets(teams))
    meters = [forecast(each, rates[_subject(each.budget)]) for each in status.for_budgets(budgets)]
    ahead = int((end - now).total_seconds())
    expected = total.cost_picos + overall.picos * ahead // int(overall.elapsed.total_seconds())
    return MonthSpend(
        begin=begin,
        end=end,
        total=total,
        expected=expected,
        limit=sum(each.status.limit for each in meters),
        used=sum(each.status.used for each in meters),
        meters=sorted(meters, key=_urgency)[:SHOWN],
    )


def _urgency(meter: BudgetMeter) -> tuple[datetime, int]:
    return meter.runs_out_at or periods.FOREVER, -meter.status.percent


def _subject(budget: Budget) -> tuple[str, int | None]:
    return ("team", budget.team_id) if budget.team_id else ("key", budget.api_key_id)


def _monthly_budgets(teams: Teams) -> list[Budget]:
    rows = Budget.objects.filter(period=Budget.Period.MONTH, unit=Budget.Unit.USD).select_related("team", "api_key")
    # A key that cannot be used spends nothing.
    rows = rows.filter(Q(api_key=None) | Q(api_key__revoked_at=None))
    return list(rows.filter(of_teams(teams) | of_teams(teams, "api_key__team_id")))


def _bounding(budgets: list[Budget]) -> list[Budget]:
    """Leave out the budgets of keys whose team has one: what they spend is in that of the team."""
    bounded = {budget.team_id for budget in budgets if budget.team_id}
    return [each for each in budgets if each.api_key is None or each.api_key.team_id not in bounded]


def _rates(teams: Teams) -> tuple[dict[tuple[str, int | None], SpendRate], SpendRate]:
    """Return what each key and each team spent in the last days, and all together. One query."""
    micros, rest = part_names("cost_usd_picos")
    hours = totals.hourly(*DateRange.last_days(RATE_DAYS).bounds()).filter(of_teams(teams))
    rows = hours.values("api_key_id", "api_key__team_id").annotate(
        micros=Sum(micros, default=0), rest=Sum(rest, default=0), first=Min("hour")
    )
    spent: dict[tuple[str, int | None], int] = defaultdict(int)
    since: dict[tuple[str, int | None], datetime] = {}
    for row in rows:
        picos = money.join(row["micros"], row["rest"])
        for subject in (("key", row["api_key_id"]), ("team", row["api_key__team_id"]), ("all", None)):
            spent[subject] += picos
            since[subject] = min(since.get(subject, row["first"]), row["first"])
    now = timezone.now()
    rates: dict[tuple[str, int | None], SpendRate] = defaultdict(lambda: rate(Totals(), since=now))
    rates |= {subject: rate(Totals(cost_picos=picos), since=since[subject]) for subject, picos in spent.items()}
    return rates, rates["all", None]
