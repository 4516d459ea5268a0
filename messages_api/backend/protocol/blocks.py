"""The fields of content blocks that our code reads. Only callers of the native lane can get one wrong: it is open."""

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
    """Return the path inside a block of the first field that is missing or of the wrong kind; None if all is well.

    The block itself has the path `""`. Types that are unknown have no flaws.
    """
    if not isinstance(block, dict):
        return ""
    flaw = _missing(block, {"type": str}) or _missing(block, _FIELDS.get(block["type"], {}))
    if flaw is not None:
        return flaw
    if block["type"] in ("image", "document"):
        return _invalid_source_field(block["source"])
    if block["type"] == "search_result":
        return invalid_content_field(block["content"], only="text")
    if block["type"] == "tool_result" and block.get("content") is not None:
        return invalid_content_field(block["content"])
    return None


def invalid_content_field(content: object, *, only: str | None = None) -> str | None:
    """Return the path, from the block that holds it, of the first flaw in `content`: a text, or blocks."""
    if isinstance(content, str):
        return None
    if not isinstance(content, list):
        return ".content"
    for position, block in enumerate(content):
        flaw = invalid_field(block)
        if flaw is None and only is not None and block["type"] != only:
            flaw = ".type"
        if flaw is not None:
            return f".content[{position}]{flaw}"
    return None


def _invalid_source_field(source: JSONObject) -> str | None:
    flaw = _missing(source, {"type": str}) or _missing(source, _SOURCE_FIELDS.get(source["type"], {}))
    if flaw is None and source["type"] == "content":
        flaw = invalid_content_field(source.get("content"))
    return None if flaw is None else f".source{flaw}"


def _missing(value: JSONObject, fields: dict[str, type]) -> str | None:
    return next((f".{name}" for name, kind in fields.items() if not isinstance(value.get(name), kind)), None)
