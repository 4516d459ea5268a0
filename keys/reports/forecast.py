"""How much of its limits and budgets a key has used, and how far they will reach."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

from keys.budgets import status
from keys.budgets.status import BudgetStatus
from keys.domain.limits import LIMIT_LABELS
from keys.limits import limiter
from keys.limits.limiter import Limits
from keys.limits.terms import LimitState
from keys.models import APIKey
from keys.reports.key_activity import Activity, SpendRate, team_pace

DAY = timedelta(days=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class LimitMeter:
    """One limit, of the key or of its team."""

    scope: str
    """`key` or `team`."""
    words: str
    value: int
    is_shadow: bool
    used: int
    free_in_s: int
    """0 for calls at once, which end when they end."""

    @property
    def percent(self) -> int:
        return min(100, round(100 * self.used / self.value))


@dataclass(frozen=True, kw_only=True, slots=True)
class BudgetMeter:
    """One budget in its period, and where it will be at its end at the pace of the last days."""

    status: BudgetStatus
    runs_out_at: datetime | None = None
    """Before the period ends. None: it does not."""
    expected: int | None = None
    """What will be spent when the period ends. None: nobody knows, or it never ends."""


def limit_meters(api_key: APIKey) -> list[LimitMeter]:
    """The limits that hold for a key's calls: its own, then those that it shares with its team."""
    scopes = [Limits.of("key", api_key), *([Limits.of("team", api_key.team)] if api_key.team else [])]
    return [_meter(state) for state in limiter.look(scopes).states]


def _meter(state: LimitState) -> LimitMeter:
    ask = state.ask
    return LimitMeter(
        scope=ask.scope,
        words=LIMIT_LABELS[ask.limit],
        value=ask.value,
        is_shadow=ask.is_shadow,
        used=max(0, ask.value - state.remaining),
        free_in_s=math.ceil(state.full_in_ms / 1000),
    )


def budget_meters(api_key: APIKey, activity: Activity) -> list[BudgetMeter]:
    """The budgets that a key's calls are charged to. Two queries, three if its team has budgets."""
    standings = status.of_key(api_key)
    paces = {"key": activity.pace}
    if any(each.scope == "team" for each in standings):
        paces["team"] = team_pace(api_key)
    return [forecast(each, paces[each.scope]) for each in standings]


def forecast(row: BudgetStatus, pace: SpendRate) -> BudgetMeter:
    """Where a budget will be at this pace."""
    per_pace = pace.micros if row.budget.unit == "usd" else pace.tokens
    now = timezone.now()
    if per_pace <= 0 or row.left <= 0:
        return BudgetMeter(status=row)
    seconds = int(pace.elapsed.total_seconds())
    lasts_s = row.left * seconds // per_pace
    ends = row.resets_at
    if lasts_s < (ends - now).total_seconds() if ends else lasts_s < 1000 * DAY.total_seconds():
        return BudgetMeter(status=row, runs_out_at=now + timedelta(seconds=lasts_s))
    if ends is None:
        return BudgetMeter(status=row)
    ahead = int((ends - now).total_seconds())
    return BudgetMeter(status=row, expected=row.spent + row.reserved + per_pace * ahead // seconds)
