"""Mapping of OpenAI's finish reasons and Anthropic's stop reasons."""

from collections.abc import Sequence

from messages_api.backend.protocol.types import JSONObject

_STOP_REASON = {
    "length": "max_tokens",
    "content_filter": "refusal",
}
"""OpenAI's finish reasons that determine the stop reason. The others do not: many servers use `stop` for all."""

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
"""Anthropic's stop reasons. A paused or compacted turn is incomplete, which is `length` in OpenAI's terms."""


def stop_fields(choice: JSONObject, *, has_tools: bool, is_refusal: bool, stop_sequences: Sequence[str]) -> JSONObject:
    """Return `stop_reason`, `stop_sequence` and, for a refusal, `stop_details` for a finished choice.

    `stop_sequences` are those of the request: a server may also report a token of its template that it stopped at.
    """
    sequence = _matched(choice, stop_sequences)
    stop_reason = _stop_reason(choice, has_tools=has_tools, is_refusal=is_refusal, matched=sequence is not None)
    fields: JSONObject = {
        "stop_reason": stop_reason,
        "stop_sequence": sequence if stop_reason == "stop_sequence" else None,
    }
    if stop_reason == "refusal":
        fields["stop_details"] = {"type": "refusal", "category": None, "explanation": None}
    return fields


def finish_reason(stop_reason: object) -> str:
    """Return OpenAI's finish reason for a stop reason; `stop` for an unknown one."""
    return _FINISH_REASON.get(stop_reason, "stop") if isinstance(stop_reason, str) else "stop"


def _stop_reason(choice: JSONObject, *, has_tools: bool, is_refusal: bool, matched: bool) -> str:
    finish = choice.get("finish_reason")
    if isinstance(finish, str) and finish in _STOP_REASON:
        return _STOP_REASON[finish]
    if has_tools:
        return "tool_use"
    if is_refusal:
        return "refusal"
    if finish == "stop" and matched:
        return "stop_sequence"
    return "end_turn"


def _matched(choice: JSONObject, stop_sequences: Sequence[str]) -> str | None:
    """Return the stop sequence that the server reports: vLLM in `stop_reason`, SGLang in `matched_stop`."""
    for field in ("stop_reason", "matched_stop"):
        value = choice.get(field)
        if isinstance(value, str) and value in stop_sequences:
            return value
    return None
