"""What a key may know of itself: its name, its rules, its budgets and what it used. JSON in plain dicts."""

from typing import Any

from keys.access.snapshots import Snapshot
from keys.budgets import status
from keys.budgets.status import BudgetStatus
from keys.domain import raw_key, team_ceilings
from keys.limits import limiter
from keys.limits.headers import reset
from keys.limits.terms import LimitDecision
from keys.models import APIKey
from keys.reports import self_service
from keys.reports.self_service import dollars


def describe(snapshot: Snapshot, *, models: list[str]) -> dict[str, Any]:
    """The key that a caller showed. `models` are the names that it may use. Never its owner, never its addresses."""
    api_key = APIKey.objects.with_last_use().select_related("team").get(pk=snapshot.key_id)
    secret = api_key.secrets.get(pk=snapshot.secret_id)
    return {
        "id": api_key.public_id,
        "name": api_key.name,
        "hint": f"{raw_key.PREFIX}{secret.hint}",
        "team": api_key.team.name if api_key.team else None,
        "created_at": api_key.created_at.isoformat(),
        "expires_at": snapshot.expires_at.isoformat() if snapshot.expires_at else None,
        "last_used_at": api_key.last_used_at.isoformat() if api_key.last_used_at else None,
        "models": {"allowed": _allowed(snapshot), "available": models},
        "limits": _limits(limiter.look(snapshot.limits)),
        "budgets": [_budget(each) for each in status.of_key(api_key)],
        "usage": self_service.current(api_key.pk),
    }


def _allowed(snapshot: Snapshot) -> list[str]:
    """The names and patterns that both lists have: a team that was narrowed later has narrowed its keys."""
    own, of_team = snapshot.allowed_models, snapshot.team_models
    if not own:
        return list(of_team) or ["*"]
    return [
        *filter(lambda name: team_ceilings.is_listed(name, of_team), own),
        *(name for name in of_team if name not in own and team_ceilings.is_listed(name, own)),
    ]


def _limits(verdict: LimitDecision) -> list[dict[str, Any]]:
    return [
        {
            "scope": state.ask.scope,
            "limit": state.ask.limit,
            "value": state.ask.value,
            "remaining": state.remaining,
            "resets_at": None if state.ask.is_concurrency else reset(verdict, state),
            "only_counts": state.ask.is_shadow,
        }
        for state in verdict.states
    ]


def _budget(status: BudgetStatus) -> dict[str, Any]:
    unit = status.budget.unit
    say = dollars if unit == "usd" else str
    return {
        "scope": status.scope,
        "period": status.budget.period,
        "unit": "usd" if unit == "usd" else "tokens",
        "limit": say(status.limit),
        "spent": say(status.spent),
        "reserved": say(status.reserved),
        "left": say(status.left),
        "resets_at": status.resets_at.isoformat() if status.resets_at else None,
    }
