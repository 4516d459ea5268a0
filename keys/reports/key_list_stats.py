"""Columns of the key list: requests of the last days, cost of the month, and the most important budget of each key."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from django.db.models import Q

from keys.budgets import status
from keys.budgets.status import BudgetStatus
from keys.models import APIKey, Budget
from keys.reports import totals
from keys.reports.date_range import DateRange, index_of_day
from keys.reports.totals import Totals, add_up

DAYS = 7
_FIRST_PERIOD = ["month", "week", "day", "total"]


@dataclass(kw_only=True, slots=True)
class KeyListStats:
    """Figures of one key in the key list."""

    days: list[Totals] = field(default_factory=lambda: [Totals()] * DAYS)
    """Settled requests of each of the last days, today last."""
    month: Totals = field(default_factory=Totals)
    """Settled requests of the current month."""
    budget: BudgetStatus | None = None
    """Of several budgets the key's own before its team's, money before tokens, a monthly one first."""

    @property
    def week(self) -> Totals:
        return add_up(self.days)


def stats_for(api_keys: Sequence[APIKey]) -> dict[int, KeyListStats]:
    """Return the figures of keys by their ids. Four queries, however many keys there are."""
    found: dict[int, KeyListStats] = defaultdict(KeyListStats)
    ids = [api_key.pk for api_key in api_keys]
    _add_days(found, ids)
    _add_month(found, ids)
    _add_budgets(found, api_keys)
    return found


def _add_days(found: dict[int, KeyListStats], ids: list[int]) -> None:
    dates = DateRange.last_days(DAYS)
    hours = totals.hourly(*dates.bounds()).filter(api_key__in=ids)
    rows = totals.grouped(hours, "api_key_id", "day", day=index_of_day("hour", dates.days()))
    for api_key_id, day, *columns in rows:
        found[api_key_id].days[day] = totals.from_columns(columns)


def _add_month(found: dict[int, KeyListStats], ids: list[int]) -> None:
    hours = totals.hourly(*DateRange.this_month().bounds()).filter(api_key__in=ids)
    for api_key_id, *columns in totals.grouped(hours, "api_key_id"):
        found[api_key_id].month = totals.from_columns(columns)


def _add_budgets(found: dict[int, KeyListStats], api_keys: Sequence[APIKey]) -> None:
    teams = {api_key.team_id for api_key in api_keys if api_key.team_id}
    rows = Budget.objects.filter(Q(api_key__in=[api_key.pk for api_key in api_keys]) | Q(team__in=teams))
    by_key: dict[int, list[BudgetStatus]] = defaultdict(list)
    by_team: dict[int, list[BudgetStatus]] = defaultdict(list)
    for each in status.for_budgets(rows):
        if each.budget.api_key_id:
            by_key[each.budget.api_key_id].append(each)
        elif each.budget.team_id:
            by_team[each.budget.team_id].append(each)
    for api_key in api_keys:
        budgets = by_key[api_key.pk] + (by_team[api_key.team_id] if api_key.team_id else [])
        found[api_key.pk].budget = min(budgets, key=_rank, default=None)


def _rank(each: BudgetStatus) -> tuple[bool, bool, int]:
    return each.scope == "team", each.budget.unit == "tokens", _FIRST_PERIOD.index(each.budget.period)
