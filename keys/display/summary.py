"""What a key may do, in words: who may call which models from where, until when, for how much at most."""

from collections.abc import Sequence
from typing import NamedTuple

from django.utils import timezone
from django.utils.timesince import timeuntil

from keys.display.inherited import in_words, listed, shortened
from keys.domain.amounts import PERIOD_LABELS, BudgetSpec, format_amount
from keys.domain.limits import LIMIT_LABELS
from keys.models import APIKey, Team

SHOWN_ADDRESSES = 6


class SummaryItem(NamedTuple):
    label: str
    text: str


def summary(api_key: APIKey, budgets: Sequence[BudgetSpec]) -> list[SummaryItem]:
    """The rules of a key, which may not be stored yet. Its team's budgets are looked up."""
    return [
        SummaryItem("Who", _who(api_key)),
        SummaryItem("Models", _models(api_key)),
        SummaryItem("From", _addresses(api_key.allowed_ips)),
        SummaryItem("Until", _until(api_key)),
        SummaryItem("At most", _budgets(api_key, budgets)),
        SummaryItem("At a time", _limits(api_key)),
    ]


def _who(api_key: APIKey) -> str:
    whose = f"a key of team {api_key.team.name}" if api_key.team else f"a key of {api_key.owner_name}"
    return f"{api_key.name}, {whose}"


def _models(api_key: APIKey) -> str:
    if api_key.allowed_models:
        return listed(shortened(api_key.allowed_models))
    if api_key.team and api_key.team.allowed_models:
        return f"those of team {api_key.team.name}: {listed(shortened(api_key.team.allowed_models))}"
    return "every model that has a route"


def _addresses(addresses: Sequence[str]) -> str:
    if not addresses:
        return "everywhere"
    more = len(addresses) - SHOWN_ADDRESSES
    return listed([*addresses[:SHOWN_ADDRESSES], *([f"{more} more"] if more > 0 else [])])


def _until(api_key: APIKey) -> str:
    moment = api_key.expires_at
    if moment is None:
        return (
            f"it is revoked: it does not expire{f' ({api_key.no_expiry_reason})' if api_key.no_expiry_reason else ''}"
        )
    ahead = f" (in {timeuntil(moment, depth=1)})" if moment > timezone.now() else " (expired)"
    return f"{timezone.localtime(moment):%-d %B %Y, %H:%M %Z}{ahead}"


def _budgets(api_key: APIKey, budgets: Sequence[BudgetSpec]) -> str:
    own = [f"{format_amount(each.amount, each.unit)} {PERIOD_LABELS[each.period]}" for each in budgets]
    shared = [in_words(budget) for budget in api_key.team.budgets.all()] if api_key.team else []
    return _both(own, shared, none="as much as it likes: there is no budget")


def _limits(api_key: APIKey) -> str:
    return _both(_limits_of(api_key), _limits_of(api_key.team) if api_key.team else [], none="no limit")


def _limits_of(rules: APIKey | Team) -> list[str]:
    found = [f"{getattr(rules, field):,} {words}" for field, words in LIMIT_LABELS.items() if getattr(rules, field)]
    return [f"{each} (only counted)" for each in found] if rules.shadow_mode else found


def _both(own: list[str], shared: list[str], *, none: str) -> str:
    parts = [listed(own)] if own else []
    if shared:
        parts.append(f"shared with its team: {listed(shared)}")
    return "; ".join(parts) or none
