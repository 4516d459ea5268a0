"""Fields of Anthropic messages that clients rely on: a value of another type becomes the empty value of its field."""

from messages_api.backend.protocol.openai_counts import count
from messages_api.backend.protocol.types import JSONObject

_COUNTS = ("cache_creation_input_tokens", "cache_read_input_tokens")
_OBJECTS = ("cache_creation", "output_tokens_details", "server_tool_use")
_CONSTANTS = {"type": "message", "role": "assistant"}
_TEXTS = ("stop_reason", "stop_sequence")


def checked_message(message: JSONObject) -> JSONObject:
    """Return a message as it is if its type, role, stop fields and usage have their types, else with those replaced."""
    changes: JSONObject = {name: value for name, value in _CONSTANTS.items() if message.get(name) != value}
    changes |= _without_wrong_texts(message)
    usage = message.get("usage")
    if isinstance(usage, dict) and (checked := checked_usage(usage)) is not usage:
        changes["usage"] = {"input_tokens": 0, "output_tokens": 0, **checked}
    return {**message, **changes} if changes else message


def checked_stop(delta: JSONObject) -> JSONObject:
    """Return the `delta` of a `message_delta`, with null for stop fields that are no text."""
    changes = _without_wrong_texts(delta)
    return {**delta, **changes} if changes else delta


def checked_usage(usage: JSONObject) -> JSONObject:
    """Return the `usage` of a message or event: without implausible counts, null for other optional ones."""
    required = {name for name in ("input_tokens", "output_tokens") if name in usage and count(usage[name]) is None}
    changes: JSONObject = {name: None for name in _COUNTS if usage.get(name) is not None and count(usage[name]) is None}
    for name in _OBJECTS:
        if not _is_object_of_counts(usage.get(name)):
            changes[name] = None
    if not isinstance(usage.get("iterations", []), list):
        changes["iterations"] = None
    if not required and not changes:
        return usage
    return {name: value for name, value in {**usage, **changes}.items() if name not in required}


def _is_object_of_counts(value: object) -> bool:
    """Whether a value is null, or an object of counts."""
    return value is None or (isinstance(value, dict) and all(count(each) is not None for each in value.values()))


def _without_wrong_texts(values: JSONObject) -> JSONObject:
    return {name: None for name in _TEXTS if not isinstance(values.get(name), str | None)}
