"""Description of an API key for the client that uses it: access policy, limits, budgets and usage, as plain dicts."""

from typing import Any

from keys.budgets import status
from keys.budgets.status import BudgetStatus
from keys.domain import raw_key
from keys.domain.amounts import to_decimal
from keys.limits.checks import LimitDecision, reset_time
from keys.models import APIKey
from keys.reports import forecast, key_usage
from lib import model_patterns


def describe(key_id: int, *, secret_id: int, available_models: list[str]) -> dict[str, Any]:
    """Describe a key by one of its secrets. Never return its owner or its allowed IP addresses."""
    api_key = APIKey.objects.with_last_use().select_related("team").get(pk=key_id)
    secret = api_key.secrets.get(pk=secret_id)
    expires_at = min(filter(None, [api_key.expires_at, secret.expires_at]), default=None)
    return {
        "id": api_key.public_id,
        "name": api_key.name,
        "hint": f"{raw_key.PREFIX}{secret.hint}",
        "team": api_key.team.name if api_key.team else None,
        "created_at": api_key.created_at.isoformat(),
        "expires_at": expires_at.isoformat() if expires_at else None,
        "last_used_at": api_key.last_used_at.isoformat() if api_key.last_used_at else None,
        "models": {"allowed": _allowed(api_key), "available": available_models},
        "limits": _limits(forecast.limit_states(api_key)),
        "budgets": [_budget(each) for each in status.for_key(api_key)],
        "usage": key_usage.current(api_key.pk),
    }


def _allowed(api_key: APIKey) -> list[str]:
    """Return the names and patterns that the key's list and its team's list both allow.

    Both apply: a team whose list was narrowed later has narrowed its keys.
    """
    return model_patterns.common(api_key.allowed_models, api_key.team.allowed_models if api_key.team else [])


def _limits(decision: LimitDecision) -> list[dict[str, Any]]:
    return [
        {
            "scope": state.check.scope,
            "limit": state.check.limit,
            "value": state.check.value,
            "remaining": state.remaining,
            "resets_at": None if state.check.is_concurrency else reset_time(decision, state),
            "shadow": state.check.is_shadow,
        }
        for state in decision.states
    ]


def _budget(status: BudgetStatus) -> dict[str, Any]:
    unit = status.budget.unit
    return {
        "scope": status.scope,
        "period": status.budget.period,
        "unit": unit,
        "limit": to_decimal(status.limit, unit),
        "spent": to_decimal(status.spent, unit),
        "reserved": to_decimal(status.reserved, unit),
        "remaining": to_decimal(status.remaining, unit),
        "resets_at": status.resets_at.isoformat() if status.resets_at else None,
    }
