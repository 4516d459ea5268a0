"""Summary of the access policy of an API key."""

from collections.abc import Sequence
from typing import NamedTuple

from django.utils import timezone
from django.utils.timesince import timeuntil

from keys.display.phrases import budget_in_words, joined, limits_in_words, models_in_words
from keys.domain.amounts import BudgetSpec
from keys.models import APIKey, Team

SHOWN_ADDRESSES = 6


class SummaryItem(NamedTuple):
    label: str
    text: str


def summary(api_key: APIKey, budgets: Sequence[BudgetSpec]) -> list[SummaryItem]:
    """Summarize the policy of a key, which may not be stored yet. The budgets of its team are read."""
    return [
        SummaryItem("Owner", f"team {api_key.team.name}" if api_key.team else api_key.owner_name),
        SummaryItem("Models", _models(api_key)),
        SummaryItem("Allowed IP addresses", _addresses(api_key.allowed_ips)),
        SummaryItem("Expires", _expiry(api_key)),
        SummaryItem("Budget", _budgets(api_key, budgets)),
        SummaryItem("Limits", _limits(api_key)),
    ]


def _models(api_key: APIKey) -> str:
    if api_key.allowed_models:
        return models_in_words(api_key.allowed_models)
    if api_key.team and api_key.team.allowed_models:
        return f"the models of team {api_key.team.name}: {models_in_words(api_key.team.allowed_models)}"
    return "every model that has a route"


def _addresses(addresses: Sequence[str]) -> str:
    if not addresses:
        return "any"
    more = len(addresses) - SHOWN_ADDRESSES
    return joined([*addresses[:SHOWN_ADDRESSES], *([f"{more} more"] if more > 0 else [])])


def _expiry(api_key: APIKey) -> str:
    moment = api_key.expires_at
    if moment is None:
        return f"never ({api_key.no_expiry_reason})" if api_key.no_expiry_reason else "never"
    ahead = f" (in {timeuntil(moment, depth=1)})" if moment > timezone.now() else " (expired)"
    return f"{timezone.localtime(moment):%-d %B %Y, %H:%M %Z}{ahead}"


def _budgets(api_key: APIKey, budgets: Sequence[BudgetSpec]) -> str:
    of_team = api_key.team.budgets.all() if api_key.team else []
    return _both(list(map(budget_in_words, budgets)), list(map(budget_in_words, of_team)), none="no budget")


def _limits(api_key: APIKey) -> str:
    return _both(_limits_of(api_key), _limits_of(api_key.team) if api_key.team else [], none="no limit")


def _limits_of(policy: APIKey | Team) -> list[str]:
    found = limits_in_words(policy)
    return [f"{each} (shadow mode)" for each in found] if policy.shadow_mode else found


def _both(own: list[str], shared: list[str], *, none: str) -> str:
    parts = [joined(own)] if own else []
    if shared:
        parts.append(f"shared with its team: {joined(shared)}")
    return "; ".join(parts) or none
