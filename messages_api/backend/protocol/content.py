"""Content blocks: validation of the fields that are translated, and translation to OpenAI.

Only clients of the Anthropic API can send invalid fields: its schema is open. A block is translated to text where
possible, otherwise to a part of a user message.
"""

from messages_api.backend.protocol.types import Block, JSONObject
from messages_api.backend.protocol.unsupported import UnsupportedRequest

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


def block_text(block: Block) -> str | None:
    """Return a block as text, or None if it has none: an image, a file, an unknown type."""
    kind = block["type"]
    if kind == "text":
        return str(block["text"])
    if kind == "search_result":
        return f"{block['title']}\n{block['source']}\n\n{_lines(block['content'])}"
    if kind == "tool_reference":
        return f"Tool available: {block['tool_name']}"
    if kind == "document":
        return _document_text(block)
    return None


def attachment_part(block: Block, *, files: bool, path: str) -> JSONObject:
    """Return the part for an image or a PDF. Raise UnsupportedRequest for any other block."""
    kind = block["type"]
    if kind not in ("image", "document"):
        raise UnsupportedRequest(f"{path}: content block type '{kind}' is not supported by this model", path)
    source = block["source"]
    if kind == "image" and source["type"] == "base64":
        return _image(_data_url(source))
    if kind == "image" and source["type"] == "url":
        return _image(source["url"])
    if kind == "document" and files and source["type"] == "base64":
        return {
            "type": "file",
            "file": {"filename": block.get("title") or "document.pdf", "file_data": _data_url(source)},
        }
    raise UnsupportedRequest(
        f"{path}.source: {kind} source type '{source['type']}' is not supported by this model", f"{path}.source"
    )


def text_part(text: str) -> JSONObject:
    return {"type": "text", "text": text}


def blocks_of(content: str | list[Block]) -> list[Block]:
    """Return content as blocks: a string is one text block."""
    return [text_part(content)] if isinstance(content, str) else content


def is_text_document(block: Block) -> bool:
    """Whether a document can be sent as text: its source is text, not a file."""
    source = block["source"]
    if source["type"] == "content":
        return all(item["type"] == "text" for item in blocks_of(source["content"]))
    return bool(source["type"] == "text")


def _document_text(block: Block) -> str | None:
    if not is_text_document(block):
        return None
    source = block["source"]
    body = source["data"] if source["type"] == "text" else _lines(blocks_of(source["content"]))
    heading = "\n".join(block[field] for field in ("title", "context") if block.get(field))
    return f"{heading}\n\n{body}" if heading else str(body)


def _lines(blocks: list[Block]) -> str:
    return "\n".join(block["text"] for block in blocks)


def _image(url: str) -> JSONObject:
    return {"type": "image_url", "image_url": {"url": url}}


def _data_url(source: JSONObject) -> str:
    return f"data:{source['media_type']};base64,{source['data']}"


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
