"""What the list shows of each key: its calls of the last days, its spending of the month, and its budget."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from django.db.models import Q, QuerySet, Sum
from django.utils import timezone

from keys.budgets import status
from keys.budgets.status import BudgetStatus
from keys.models import APIKey, Budget, HourlyUsage, UsageRecord
from keys.reports import usage
from keys.reports.usage import Period

DAYS = 7
_FIRST_PERIOD = ["month", "week", "day", "total"]


@dataclass(kw_only=True, slots=True)
class KeyListStats:
    """A key at a glance."""

    days: list[int] = field(default_factory=lambda: [0] * DAYS)
    """Calls of each of the last days, today the last. Without those that were refused."""
    rejected: int = 0
    """In these days."""
    cost: int = 0
    """Micro-dollars, of this month's calls that have a price."""
    ended: int = 0
    unpriced: int = 0
    """How many of this month's calls have none."""
    budget: BudgetStatus | None = None
    """Of several the one that tells most: the key's own before its team's, money before tokens, a month's first."""


def of(api_keys: Sequence[APIKey]) -> dict[int, KeyListStats]:
    """By the id of the key. Four queries, however many keys there are."""
    found: dict[int, KeyListStats] = defaultdict(KeyListStats)
    ids = [api_key.pk for api_key in api_keys]
    _add_days(found, ids)
    _add_month(found, ids)
    _add_budgets(found, api_keys)
    return found


_REFUSED = Q(status=UsageRecord.Status.REJECTED)


def _add_days(found: dict[int, KeyListStats], ids: list[int]) -> None:
    today = timezone.localdate()
    week = Period(first=today - timedelta(days=DAYS - 1), last=today)
    hours = _hours(ids, week).annotate(day=usage.index_of_day("hour", week.days())).values("api_key_id", "day")
    sums = hours.annotate(made=Sum("requests", filter=~_REFUSED), rejected=Sum("requests", filter=_REFUSED))
    for api_key_id, day, made, rejected in sums.values_list("api_key_id", "day", "made", "rejected"):
        found[api_key_id].days[day] = made or 0
        found[api_key_id].rejected += rejected or 0


def _add_month(found: dict[int, KeyListStats], ids: list[int]) -> None:
    today = timezone.localdate()
    hours = _hours(ids, Period(first=today.replace(day=1), last=today)).values("api_key_id")
    sums = hours.annotate(
        made=Sum("requests", filter=~_REFUSED), cost=Sum("cost_usd_micros"), unpriced=Sum("unpriced_requests")
    )
    for api_key_id, made, cost, unpriced in sums.values_list("api_key_id", "made", "cost", "unpriced"):
        glance = found[api_key_id]
        glance.ended, glance.cost, glance.unpriced = made or 0, cost, unpriced


def _hours(ids: list[int], period: Period) -> QuerySet[HourlyUsage]:
    begin, end = period.bounds()
    return HourlyUsage.objects.filter(api_key__in=ids, hour__gte=begin, hour__lt=end).order_by()


def _add_budgets(found: dict[int, KeyListStats], api_keys: Sequence[APIKey]) -> None:
    teams = {api_key.team_id for api_key in api_keys if api_key.team_id}
    rows = Budget.objects.filter(Q(api_key__in=[api_key.pk for api_key in api_keys]) | Q(team__in=teams))
    by_key: dict[int, list[BudgetStatus]] = defaultdict(list)
    by_team: dict[int, list[BudgetStatus]] = defaultdict(list)
    for each in status.of_budgets(rows):
        if each.budget.api_key_id:
            by_key[each.budget.api_key_id].append(each)
        elif each.budget.team_id:
            by_team[each.budget.team_id].append(each)
    for api_key in api_keys:
        standings = by_key[api_key.pk] + (by_team[api_key.team_id] if api_key.team_id else [])
        found[api_key.pk].budget = min(standings, key=_rank, default=None)


def _rank(each: BudgetStatus) -> tuple[bool, bool, int]:
    return each.scope == "team", each.budget.unit == "tokens", _FIRST_PERIOD.index(each.budget.period)
