"""How much a model shall think, in OpenAI's words."""

from typing import get_args

from messages_api.backend.protocol.profile import Effort, Profile
from messages_api.backend.protocol.types import JSONObject, MessagesRequest

_LEVELS = get_args(Effort)
"""From the weakest to the strongest."""

# The budgets at which LiteLLM changes its level: whoever moves here from there sees no difference.
_BUDGETS = ((4096, "high"), (2048, "medium"))


def reasoning_for(request: MessagesRequest, profile: Profile) -> tuple[JSONObject, list[str]]:
    """Return `reasoning_effort` and the vendor's switch, as far as the profile has them, and what was dropped."""
    thinking, effort = request.get("thinking"), (request.get("output_config") or {}).get("effort")
    fields: JSONObject = {}
    dropped: list[str] = []
    level = _level(thinking, effort)
    accepted = _accepted(level, profile.efforts)
    if accepted is not None:
        fields["reasoning_effort"] = accepted
    if effort is not None and (not profile.efforts or level not in _LEVELS):
        dropped.append("output_config.effort")
    if not thinking:
        return fields, dropped

    is_on = thinking.get("type") != "disabled"
    if profile.thinking_toggle == "deepseek":
        fields["thinking"] = {"type": "enabled" if is_on else "disabled"}
    elif profile.thinking_toggle == "enable_thinking":
        fields["chat_template_kwargs"] = {"enable_thinking": is_on}
    elif not profile.efforts:
        return fields, [*dropped, "thinking"]
    if thinking.get("display") is not None:
        dropped.append("thinking.display")
    return fields, dropped


def _level(thinking: JSONObject | None, effort: str | None) -> str | None:
    """Return the level that is asked for. None leaves it to the upstream, as adaptive thinking does."""
    if thinking and thinking.get("type") == "disabled":
        return "none"
    if effort is not None:
        return effort
    budget = thinking.get("budget_tokens") if thinking else None
    if not isinstance(budget, int):
        return None
    return next((level for least, level in _BUDGETS if budget >= least), "low")


def _accepted(level: str | None, efforts: tuple[Effort, ...]) -> str | None:
    """Return the strongest accepted level that is not stronger than asked; if all are, the weakest."""
    if level not in _LEVELS or not efforts:
        return None
    if level == "none":
        return "none" if "none" in efforts else None
    known = sorted(efforts, key=_LEVELS.index)
    not_stronger = [effort for effort in known if _LEVELS.index(effort) <= _LEVELS.index(level)]
    return not_stronger[-1] if not_stronger else known[0]
