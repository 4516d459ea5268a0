"""Why an answer ended, in both dialects."""

from collections.abc import Sequence

from messages_api.backend.protocol.types import JSONObject

_STOP_REASON = {
    "length": "max_tokens",
    "content_filter": "refusal",
}
"""OpenAI's finish reasons that decide alone. The others say too little: many servers write `stop` for everything."""

_FINISH_REASON = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "length",
    "compaction": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
"""Anthropic's stop reasons. A paused or compacted turn is not complete, and `length` is what says so."""


def stop_fields(choice: JSONObject, *, has_tools: bool, refused: bool, asked: Sequence[str]) -> JSONObject:
    """Return `stop_reason`, `stop_sequence` and, for a refusal, `stop_details` for a finished choice.

    `asked` are the stop sequences of the request: a server may also name a token of its template that it stopped at.
    """
    sequence = _matched(choice, asked)
    stop_reason = _stop_reason(choice, has_tools=has_tools, refused=refused, matched=sequence is not None)
    fields: JSONObject = {
        "stop_reason": stop_reason,
        "stop_sequence": sequence if stop_reason == "stop_sequence" else None,
    }
    if stop_reason == "refusal":
        fields["stop_details"] = {"type": "refusal", "category": None, "explanation": None}
    return fields


def finish_reason(stop_reason: object) -> str:
    """Return OpenAI's word for a stop reason; `stop` for one that is unknown."""
    return _FINISH_REASON.get(stop_reason, "stop") if isinstance(stop_reason, str) else "stop"


def _stop_reason(choice: JSONObject, *, has_tools: bool, refused: bool, matched: bool) -> str:
    finish = choice.get("finish_reason")
    if isinstance(finish, str) and finish in _STOP_REASON:
        return _STOP_REASON[finish]
    if has_tools:
        return "tool_use"
    if refused:
        return "refusal"
    if finish == "stop" and matched:
        return "stop_sequence"
    return "end_turn"


def _matched(choice: JSONObject, asked: Sequence[str]) -> str | None:
    """Return the stop sequence that the server says it met: vLLM in `stop_reason`, SGLang in `matched_stop`."""
    for field in ("stop_reason", "matched_stop"):
        value = choice.get(field)
        if isinstance(value, str) and value in asked:
            return value
    return None
