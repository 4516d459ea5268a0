"""Mapping of OpenAI's finish reasons and Anthropic's stop reasons."""

from collections.abc import Sequence

from messages_api.backend.protocol.types import JSONObject

_STOP_REASON = {
    "length": "max_tokens",
    "max_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "model_length": "max_tokens",
    "content_filter": "refusal",
    "refusal": "refusal",
    "safety": "refusal",
    "sensitive": "refusal",
    "recitation": "refusal",
    "blocklist": "refusal",
    "prohibited_content": "refusal",
    "spii": "refusal",
}
"""Finish reasons that determine the stop reason. The others do not: many servers use `stop` for all."""

_NO_FINISH = ("", "null", "none", "finish_reason_unspecified")
"""Texts that servers send in chunks before the end."""

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


def known_finish(finish: object) -> str | None:
    """Return a finish reason in lower case; None where a server says that there is none yet."""
    if isinstance(finish, str):
        name = finish.strip().lower()
        return None if name in _NO_FINISH else name
    return "stop" if finish else None


def is_cut_by_length(finish: object) -> bool:
    """Whether the response ended because it reached a limit of tokens."""
    return _STOP_REASON.get(known_finish(finish) or "") == "max_tokens"


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
    finish = known_finish(choice.get("finish_reason"))
    if finish in _STOP_REASON:
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
