"""Use of a key's limits and budgets, and when they will be exhausted at the current spend rate."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

from keys.budgets import status
from keys.budgets.status import BudgetStatus
from keys.domain.limits import LIMIT_LABELS
from keys.limits import limiter
from keys.limits.checks import LimitDecision, LimitState
from keys.limits.limiter import Limits
from keys.models import APIKey
from keys.reports import totals
from keys.reports.date_range import DateRange
from keys.reports.key_activity import KeyActivity
from keys.reports.totals import Totals, add_up

DAY = timedelta(days=1)
RATE_DAYS = 7


@dataclass(frozen=True, kw_only=True, slots=True)
class LimitMeter:
    """Use of one limit of a key or its team."""

    scope: str
    """`key` or `team`."""
    words: str
    value: int
    is_shadow: bool
    used: int
    free_in_s: int
    """Seconds until the limit is fully replenished; 0 for concurrent requests."""

    @property
    def percent(self) -> int:
        return min(100, round(100 * self.used / self.value))


@dataclass(frozen=True, kw_only=True, slots=True)
class BudgetMeter:
    """Use of one budget in its period, with the forecast for the end of the period."""

    status: BudgetStatus
    runs_out_at: datetime | None = None
    """None if the budget lasts until the end of its period."""
    expected: int | None = None
    """What will be spent at the end of the period. None if it is unknown or the period never ends."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SpendRate:
    """Money and tokens spent in a time."""

    picos: int
    tokens: int
    elapsed: timedelta


def limit_meters(api_key: APIKey) -> list[LimitMeter]:
    """Return the limits of a key's requests: its own, then those that it shares with its team."""
    return [_meter(state) for state in limit_states(api_key).states]


def limit_states(api_key: APIKey) -> LimitDecision:
    """Return the current state of the limits of a key and its team, without consuming anything."""
    scopes = [Limits.of("key", api_key), *([Limits.of("team", api_key.team)] if api_key.team else [])]
    return limiter.check(scopes)


def _meter(state: LimitState) -> LimitMeter:
    check = state.check
    return LimitMeter(
        scope=check.scope,
        words=LIMIT_LABELS[check.limit],
        value=check.value,
        is_shadow=check.is_shadow,
        used=max(0, check.value - state.remaining),
        free_in_s=math.ceil(state.full_in_ms / 1000),
    )


def budget_meters(api_key: APIKey, activity: KeyActivity) -> list[BudgetMeter]:
    """Return the budgets that a key's requests are charged to. Two queries, three if its team has budgets."""
    budgets = status.for_key(api_key)
    spent = add_up([row.totals for row in activity.days[-RATE_DAYS:]])
    rates = {"key": _rate(spent, since=api_key.created_at)}
    if any(each.scope == "team" for each in budgets):
        rates["team"] = team_spend_rate(api_key)
    return [forecast(each, rates[each.scope]) for each in budgets]


def team_spend_rate(api_key: APIKey) -> SpendRate:
    """Return what all keys of a key's team spent together in the last days. One query."""
    assert api_key.team is not None
    siblings = APIKey.objects.filter(team_id=api_key.team_id).values("pk")
    hours = totals.hourly(*DateRange.last_days(RATE_DAYS).bounds()).filter(api_key__in=siblings)
    return _rate(totals.total(hours), since=api_key.team.created_at)


def _rate(spent: Totals, *, since: datetime) -> SpendRate:
    """Relate totals of the last days to the time since the first of them or the beginning, at least one day."""
    begin, _ = DateRange.last_days(RATE_DAYS).bounds()
    elapsed = max(DAY, timezone.now() - max(begin, since))
    return SpendRate(picos=spent.cost_picos, tokens=spent.tokens, elapsed=elapsed)


def forecast(row: BudgetStatus, rate: SpendRate) -> BudgetMeter:
    """Extrapolate a budget at a spend rate."""
    per_elapsed = rate.picos if row.budget.unit == "usd" else rate.tokens
    now = timezone.now()
    if per_elapsed <= 0 or row.remaining <= 0:
        return BudgetMeter(status=row)
    seconds = int(rate.elapsed.total_seconds())
    lasts_s = row.remaining * seconds // per_elapsed
    ends = row.resets_at
    if lasts_s < (ends - now).total_seconds() if ends else lasts_s < 1000 * DAY.total_seconds():
        return BudgetMeter(status=row, runs_out_at=now + timedelta(seconds=lasts_s))
    if ends is None:
        return BudgetMeter(status=row)
    ahead = int((ends - now).total_seconds())
    return BudgetMeter(status=row, expected=row.spent + row.reserved + per_elapsed * ahead // seconds)
