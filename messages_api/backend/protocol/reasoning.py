"""Translation of thinking and effort settings to OpenAI."""

from typing import get_args

from messages_api.backend.protocol.profile import Effort, Profile
from messages_api.backend.protocol.types import JSONObject, MessagesRequest

_LEVELS = get_args(Effort)
"""From weakest to strongest."""

# The thinking budgets at which LiteLLM changes its level, so that a migration from LiteLLM changes nothing.
_BUDGETS = ((4096, "high"), (2048, "medium"))


def reasoning_for(request: MessagesRequest, profile: Profile) -> tuple[JSONObject, list[str]]:
    """Return `reasoning_effort` and the provider's switch, if the profile has them, and the dropped fields."""
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
    """Return the requested level. None leaves it to the upstream, as adaptive thinking does."""
    if thinking and thinking.get("type") == "disabled":
        return "none"
    if effort is not None:
        return effort
    budget = thinking.get("budget_tokens") if thinking else None
    if not isinstance(budget, int):
        return None
    return next((level for least, level in _BUDGETS if budget >= least), "low")


def _accepted(level: str | None, efforts: tuple[Effort, ...]) -> str | None:
    """Return the strongest accepted level up to the requested one; if there is none, the weakest."""
    if level not in _LEVELS or not efforts:
        return None
    if level == "none":
        return "none" if "none" in efforts else None
    known = sorted(efforts, key=_LEVELS.index)
    not_stronger = [effort for effort in known if _LEVELS.index(effort) <= _LEVELS.index(level)]
    return not_stronger[-1] if not_stronger else known[0]
