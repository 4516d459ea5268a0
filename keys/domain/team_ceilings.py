"""
Team ceilings: a key cannot have higher limits, more models or larger budgets than its team. Pure.

Forms and commands check this on input. At run time the policies of key and team both apply, so narrowing a team takes
effect for its existing keys.
"""

from collections.abc import Iterable
from typing import Protocol

from keys.domain.amounts import PERIOD_LABELS, PERIODS, BudgetSpec, format_amount
from keys.domain.limits import LIMIT_LABELS
from lib import model_patterns


class HasPolicy(Protocol):
    """A key or a team. The limits are read by their names in LIMIT_LABELS."""

    allowed_models: list[str]


def exceeding_fields(key: HasPolicy, team: HasPolicy, *, name: str) -> dict[str, str]:
    """Return an error message for each field of a key that exceeds its team. `name` is the team's."""
    errors = {}
    for field, label in LIMIT_LABELS.items():
        value, ceiling = getattr(key, field), getattr(team, field)
        if value is not None and ceiling is not None and value > ceiling:
            errors[field] = f"The team {name} has {ceiling:,} {label} for all its keys: enter {ceiling:,} or less."
    excess = [model for model in key.allowed_models if not model_patterns.allows(team.allowed_models, model)]
    if excess:
        allowed = ", ".join(team.allowed_models)
        errors["allowed_models"] = f"The team {name} allows {allowed}, but not {', '.join(excess)}."
    return errors


def exceeding_budget(budget: BudgetSpec, team_budgets: Iterable[BudgetSpec], *, name: str) -> str | None:
    """Return an error message if a key's budget exceeds one of its team for the same or a longer period."""
    periods = PERIODS[PERIODS.index(budget.period) :]
    for ceiling in team_budgets:
        if ceiling.unit == budget.unit and ceiling.period in periods and budget.amount > ceiling.amount:
            most = format_amount(ceiling.amount, ceiling.unit)
            return f"The team {name} has {most} {PERIOD_LABELS[ceiling.period]} for all its keys: enter {most} or less."
    return None
