"""Phrases of several texts: lists, budgets and limits in words."""

from collections.abc import Sequence

from keys.domain.amounts import PERIOD_LABELS, BudgetSpec, format_amount
from keys.domain.limits import LIMIT_LABELS
from keys.models import APIKey, Budget, Team

SHOWN_MODELS = 8


def budget_in_words(budget: Budget | BudgetSpec) -> str:
    """Return `$20.00 per month`."""
    return f"{format_amount(budget.amount, budget.unit)} {PERIOD_LABELS[budget.period]}"


def limits_in_words(policy: APIKey | Team) -> list[str]:
    """Return `60 requests per minute` for each limit that is set."""
    values = {label: getattr(policy, field) for field, label in LIMIT_LABELS.items()}
    return [f"{value:,} {label}" for label, value in values.items() if value]


def joined(parts: Sequence[str]) -> str:
    """Return `a, b and c`."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def models_in_words(models: Sequence[str]) -> str:
    """Return the first model names, and the number of the others."""
    more = len(models) - SHOWN_MODELS
    return joined([*models[:SHOWN_MODELS], f"{more} more"] if more > 0 else models)
