"""Capabilities of a model in Anthropic's model list, as far as the official SDKs can read them."""

from collections.abc import Mapping
from typing import Any

from messages_api.backend.protocol import wire
from messages_api.backend.protocol.types import JSONObject

MAX_CHARACTERS = 8_192
"""Length of the JSON text of one model's capabilities. Anthropic's have about 1,200 characters."""

Shape = Mapping[str, Any]
"""The parts that a capability must have, each with its own shape."""

_SHAPE: Shape = {
    "batch": {},
    "citations": {},
    "code_execution": {},
    "context_management": {},
    "effort": {"high": {}, "low": {}, "max": {}, "medium": {}},
    "image_input": {},
    "pdf_input": {},
    "server_tools": {"code_execution": {}, "web_search": {}},
    "structured_outputs": {},
    "thinking": {"types": {"adaptive": {}, "between_tools": {}, "disabled": {}, "enabled": {}}},
}
_OPTIONAL: Shape = {"compaction": {"summarize": {}}}
"""Capabilities that may be missing, and their shape where they are not. Of all others only `supported` is known."""
_GROUP = "types"
"""The part that only groups others: it has no `supported` of its own."""


def readable_capabilities(value: object) -> JSONObject | None:
    """Return the capabilities unchanged, or None if a strict client cannot read all of them."""
    if not isinstance(value, dict) or not _has_parts(value, _SHAPE):
        return None
    return value if len(wire.encode_text(value)) <= MAX_CHARACTERS else None


def _has_parts(value: JSONObject, shape: Shape) -> bool:
    """Whether all parts of a shape are present, and what is present is a capability or null."""
    return shape.keys() <= value.keys() and all(
        _is_capability(name, part, shape) for name, part in value.items() if name != "supported"
    )


def _is_capability(name: str, value: object, shape: Shape) -> bool:
    if value is None:
        return name not in shape
    if not isinstance(value, dict):
        return False
    is_supported_known = name == _GROUP or type(value.get("supported")) is bool
    return is_supported_known and _has_parts(value, shape.get(name) or _OPTIONAL.get(name) or {})
