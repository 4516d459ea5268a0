"""Help texts of the key form: what the owner means, and what an empty field means for a key of this owner."""

from keys.display.phrases import budget_in_words, joined, limits_in_words, models_in_words
from keys.domain.limits import LIMIT_LABELS
from keys.models import Team

FOR_USER = {
    "owner_choice": "This user is responsible for the key and receives its budget alerts. The key stops working when "
    "the user is deactivated.",
    "allowed_models": "One name per line; a name may end in *. Empty: every model that has a route.",
    "budgets": "No budget: spending is not limited.",
    **dict.fromkeys(LIMIT_LABELS, "Empty: no limit."),
}
WITHOUT_OWNER = FOR_USER | {
    "owner_choice": "A user is responsible for the key. Or a team owns it; team limits apply to all its keys combined."
}


def for_team(team: Team) -> dict[str, str]:
    """Return the help texts of a key of this team, by field."""
    texts = {field: _limit(team, field) for field in LIMIT_LABELS}
    return texts | {"owner_choice": _policy(team), "allowed_models": _models(team), "budgets": _budgets(team)}


def _policy(team: Team) -> str:
    """Describe the access policy that a key gets from its team, in a few sentences."""
    limits = limits_in_words(team)
    shared = [*limits, *map(budget_in_words, team.budgets.all())]
    text = f"All keys of team {team.name} share {joined(shared)}." if shared else f"Team {team.name} has no limits."
    if limits and team.shadow_mode:
        text += " Its limits are in shadow mode."
    if team.allowed_models:
        text += f" They may use {models_in_words(team.allowed_models)}."
    if team.email:
        text += f" Alerts go to {team.email}."
    if team.disabled_at:
        text += " The team is disabled: none of its keys works."
    return text


def _limit(team: Team, field: str) -> str:
    value = getattr(team, field)
    if value is None:
        return f"Empty: no limit; team {team.name} has none either."
    shadow = " (shadow mode)" if team.shadow_mode else ""
    return f"Empty: {value:,} {LIMIT_LABELS[field]}{shadow}, shared with the other keys of team {team.name}."


def _models(team: Team) -> str:
    of_team = f"the models of team {team.name}: {models_in_words(team.allowed_models)}"
    empty = of_team if team.allowed_models else f"every model that has a route, as for team {team.name}"
    return f"One name per line; a name may end in *. Empty: {empty}."


def _budgets(team: Team) -> str:
    budgets = [budget_in_words(budget) for budget in team.budgets.all()]
    if not budgets:
        return f"No budget: spending is not limited; team {team.name} has no budget either."
    return f"Team {team.name} has {joined(budgets)}, shared by all its keys. A key budget applies in addition."
