"""
A key never exceeds its team: what somebody asks for a key beyond what its team has. Pure.

It is checked where people enter it, so that nobody is promised what is not there. What holds at a call are the rules of
both, so a team that is narrowed later narrows its keys at once.
"""

from collections.abc import Iterable
from typing import Protocol

from keys.domain.amounts import PERIOD_LABELS, PERIODS, BudgetSpec, format_amount
from keys.domain.limits import LIMIT_LABELS
from lib import model_patterns


class HasRules(Protocol):
    """A key or a team, as far as it matters here."""

    allowed_models: list[str]


def exceeding_fields(rules: HasRules, team: HasRules, *, name: str) -> dict[str, str]:
    """By field, what of a key's rules its team does not have. Empty if it exceeds nothing."""
    found = {}
    for field, words in LIMIT_LABELS.items():
        wanted, most = getattr(rules, field), getattr(team, field)
        if wanted is not None and most is not None and wanted > most:
            found[field] = f"The team {name} has {most:,} {words} for all its keys: give {most:,} or less."
    strange = [model for model in rules.allowed_models if not model_patterns.allows(team.allowed_models, model)]
    if strange:
        allowed = ", ".join(team.allowed_models)
        found["allowed_models"] = f"The team {name} may use {allowed}; not {', '.join(strange)}."
    return found


def beyond_budgets(wanted: BudgetSpec, budgets: Iterable[BudgetSpec], *, name: str) -> str | None:
    """Why a key cannot have a budget beside those of its team: more in a shorter time is more in a longer time too."""
    longer = PERIODS[PERIODS.index(wanted.period) :]
    for budget in budgets:
        if budget.unit == wanted.unit and budget.period in longer and wanted.amount > budget.amount:
            most = format_amount(budget.amount, budget.unit)
            return f"The team {name} has {most} {PERIOD_LABELS[budget.period]} for all its keys: give {most} or less."
    return None
