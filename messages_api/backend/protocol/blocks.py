"""Validation of the content block fields that are translated.

Only clients of the Anthropic API can send invalid ones: its schema is open.
"""

from messages_api.backend.protocol.types import JSONObject

_FIELDS: dict[str, dict[str, type]] = {
    "text": {"text": str},
    "thinking": {"thinking": str},
    "tool_use": {"id": str, "name": str, "input": dict},
    "tool_result": {"tool_use_id": str},
    "tool_reference": {"tool_name": str},
    "search_result": {"title": str, "source": str, "content": list},
    "image": {"source": dict},
    "document": {"source": dict},
}

_SOURCE_FIELDS: dict[str, dict[str, type]] = {
    "base64": {"media_type": str, "data": str},
    "url": {"url": str},
    "text": {"data": str},
}


def invalid_field(block: object) -> str | None:
    """Return the path inside a block of its first missing or mistyped field, or None if the block is valid.

    The path of the block itself is `""`. Blocks of unknown types are valid.
    """
    if not isinstance(block, dict):
        return ""
    path = _missing(block, {"type": str}) or _missing(block, _FIELDS.get(block["type"], {}))
    if path is not None:
        return path
    if block["type"] in ("image", "document"):
        return _invalid_source_field(block["source"])
    if block["type"] == "search_result":
        return invalid_content_field(block["content"], only="text")
    if block["type"] == "tool_result" and block.get("content") is not None:
        return invalid_content_field(block["content"])
    return None


def invalid_content_field(content: object, *, only: str | None = None) -> str | None:
    """Return the path of the first invalid field in `content` (text or blocks), relative to the block that has it."""
    if isinstance(content, str):
        return None
    if not isinstance(content, list):
        return ".content"
    for position, block in enumerate(content):
        path = invalid_field(block)
        if path is None and only is not None and block["type"] != only:
            path = ".type"
        if path is not None:
            return f".content[{position}]{path}"
    return None


def _invalid_source_field(source: JSONObject) -> str | None:
    path = _missing(source, {"type": str}) or _missing(source, _SOURCE_FIELDS.get(source["type"], {}))
    if path is None and source["type"] == "content":
        path = invalid_content_field(source.get("content"))
    return None if path is None else f".source{path}"


def _missing(value: JSONObject, fields: dict[str, type]) -> str | None:
    return next((f".{name}" for name, kind in fields.items() if not isinstance(value.get(name), kind)), None)
