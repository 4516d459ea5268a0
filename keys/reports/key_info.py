"""What a key may know of itself: its name, its rules, its budgets and what it used. JSON in plain dicts."""

from typing import Any

from keys.access.snapshots import Snapshot
from keys.budgets import status as standing
from keys.budgets.status import Standing
from keys.domain import raw_key as hashing
from keys.domain import team_ceilings as bounds
from keys.limits import limiter as limits
from keys.limits.headers import reset
from keys.limits.terms import Verdict
from keys.models import APIKey
from keys.reports import self_service as own_usage
from keys.reports.self_service import dollars


def describe(snapshot: Snapshot, *, models: list[str]) -> dict[str, Any]:
    """The key that a caller showed. `models` are the names that it may use. Never its owner, never its addresses."""
    api_key = APIKey.objects.with_last_use().select_related("team").get(pk=snapshot.key_id)
    secret = api_key.secrets.get(pk=snapshot.secret_id)
    return {
        "id": api_key.public_id,
        "name": api_key.name,
        "hint": f"{hashing.PREFIX}{secret.hint}",
        "team": api_key.team.name if api_key.team else None,
        "created_at": api_key.created_at.isoformat(),
        "expires_at": snapshot.expires_at.isoformat() if snapshot.expires_at else None,
        "last_used_at": api_key.last_used_at.isoformat() if api_key.last_used_at else None,
        "models": {"allowed": _allowed(snapshot), "available": models},
        "limits": _limits(limits.look(snapshot.limits)),
        "budgets": [_budget(each) for each in standing.of_key(api_key)],
        "usage": own_usage.current(api_key.pk),
    }


def _allowed(snapshot: Snapshot) -> list[str]:
    """The names and patterns that both lists have: a team that was narrowed later has narrowed its keys."""
    own, of_team = snapshot.allowed_models, snapshot.team_models
    if not own:
        return list(of_team) or ["*"]
    return [
        *filter(lambda name: bounds.is_listed(name, of_team), own),
        *(name for name in of_team if name not in own and bounds.is_listed(name, own)),
    ]


def _limits(verdict: Verdict) -> list[dict[str, Any]]:
    return [
        {
            "scope": state.ask.scope,
            "limit": state.ask.limit,
            "value": state.ask.value,
            "remaining": state.remaining,
            "resets_at": None if state.ask.is_place else reset(verdict, state),
            "only_counts": state.ask.is_shadow,
        }
        for state in verdict.states
    ]


def _budget(standing: Standing) -> dict[str, Any]:
    unit = standing.budget.unit
    say = dollars if unit == "money" else str
    return {
        "scope": standing.scope,
        "period": standing.budget.period,
        "unit": "usd" if unit == "money" else "tokens",
        "limit": say(standing.limit),
        "spent": say(standing.spent),
        "reserved": say(standing.reserved),
        "left": say(standing.left),
        "resets_at": standing.resets_at.isoformat() if standing.resets_at else None,
    }
