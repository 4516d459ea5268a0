"""What a key has of its team, in words: what an empty field of it means, and what comes with the team."""

from collections.abc import Sequence

from keys.domain.amounts import PERIOD_LABELS, format_amount
from keys.domain.limits import LIMIT_LABELS
from keys.models import Budget, Team

SHOWN_MODELS = 8

OF_A_PERSON = {
    "owner_choice": "This person answers for the key and is told of its budgets. When they are deactivated, it stops.",
    "allowed_models": "One a line; a name may end in *. Empty: every model that has a route.",
    "budgets": "Without a budget the key may spend as much as it likes.",
    **dict.fromkeys(LIMIT_LABELS, "Empty: no limit."),
}
OF_NOBODY = OF_A_PERSON | {
    "owner_choice": "A person answers for the key; a team owns it, and its rules hold for all its keys together."
}


def of_team(team: Team) -> dict[str, str]:
    """By field, what it means to leave it empty for a key of this team."""
    texts = {field: _limit(team, field) for field in LIMIT_LABELS}
    return texts | {"owner_choice": gives(team), "allowed_models": _models(team), "budgets": _budgets(team)}


def gives(team: Team) -> str:
    """What comes with a team, in a sentence or two."""
    limits = [f"{getattr(team, field):,} {words}" for field, words in LIMIT_LABELS.items() if getattr(team, field)]
    budgets = [in_words(budget) for budget in team.budgets.all()]
    shared = [*limits, *budgets]
    told = f"All keys of team {team.name} share {listed(shared)}." if shared else f"Team {team.name} has no limits."
    if limits and team.shadow_mode:
        told += " Its limits only count, and refuse nothing."
    if team.allowed_models:
        told += f" They may use {listed(shortened(team.allowed_models))}."
    if team.email:
        told += f" Warnings go to {team.email}."
    if team.disabled_at:
        told += " It is disabled: none of its keys works."
    return told


def _limit(team: Team, field: str) -> str:
    most = getattr(team, field)
    if most is None:
        return f"Empty: no limit; team {team.name} has none either."
    counts = ", which only counts" if team.shadow_mode else ""
    return f"Empty: {most:,} {LIMIT_LABELS[field]}{counts}, shared with the other keys of team {team.name}."


def _models(team: Team) -> str:
    those = f"those of team {team.name}: {listed(shortened(team.allowed_models))}"
    empty = those if team.allowed_models else f"every model that has a route, as for team {team.name}"
    return f"One a line; a name may end in *. Empty: {empty}."


def _budgets(team: Team) -> str:
    budgets = [in_words(budget) for budget in team.budgets.all()]
    if not budgets:
        return f"Without a budget the key may spend as much as it likes; team {team.name} has none either."
    return f"Team {team.name} has {listed(budgets)}, shared by all its keys. A budget here holds besides."


def in_words(budget: Budget) -> str:
    """`$20.00 a month`."""
    return f"{format_amount(budget.amount, budget.unit)} {PERIOD_LABELS[budget.period]}"


def listed(parts: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def shortened(models: Sequence[str]) -> list[str]:
    """The first few, and how many more there are."""
    more = len(models) - SHOWN_MODELS
    return [*models[:SHOWN_MODELS], f"{more} more"] if more > 0 else list(models)
