"""Translation of content blocks to OpenAI: as text where possible, otherwise as parts of a user message."""

from messages_api.backend.protocol.types import Block, JSONObject
from messages_api.backend.protocol.unsupported import UnsupportedRequest


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
