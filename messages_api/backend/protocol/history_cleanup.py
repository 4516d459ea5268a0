"""Removal of other upstreams' content from a history, which Anthropic would reject with a 400."""

import hashlib
import re

from messages_api.backend.protocol.thinking_signature import is_own
from messages_api.backend.protocol.tool_extras import split_id
from messages_api.backend.protocol.types import Block, JSONObject

_INVALID_CHARACTERS = re.compile(r"[^a-zA-Z0-9_-]")
_HASH_LENGTH = 8

_ID_FIELDS = {"tool_use": "id", "tool_result": "tool_use_id"}


def clean_history(body: JSONObject) -> tuple[bool, JSONObject]:
    """Return whether a request was changed, and the request without content of other upstreams.

    Thinking without a signature of Anthropic, blank text of the assistant and messages that become empty are removed.
    Invalid tool IDs are rewritten. If nothing changes, the body itself is returned, and its original bytes can be sent.
    """
    messages = body["messages"]
    cleaned = [kept for message in messages if (kept := _message(message)) is not None]
    if len(cleaned) == len(messages) and all(new is old for new, old in zip(cleaned, messages, strict=True)):
        return False, body
    return True, {**body, "messages": cleaned}


def _message(message: JSONObject) -> JSONObject | None:
    """Return a cleaned message, which is the message itself if it is clean; None if it becomes empty."""
    content, is_assistant = message["content"], message["role"] == "assistant"
    if isinstance(content, str):
        return None if is_assistant and not content.strip() else message
    blocks = [_block(block) for block in content if not (is_assistant and _is_foreign(block))]
    if len(blocks) == len(content) and all(new is old for new, old in zip(blocks, content, strict=True)):
        return message
    return {**message, "content": blocks} if blocks else None


def _is_foreign(block: object) -> bool:
    """Whether a block can only come from another upstream. Signed thinking does not, even if it is empty."""
    if not isinstance(block, dict):
        return False
    if block.get("type") == "thinking":
        return not block.get("signature") or is_own(block["signature"])
    return block.get("type") == "text" and isinstance(block.get("text"), str) and not block["text"].strip()


def _block(block: Block) -> Block:
    field = _ID_FIELDS.get(block.get("type", "")) if isinstance(block, dict) else None
    if field is None or not isinstance(block.get(field), str):
        return block
    tool_id = _tool_id(block[field])
    return block if tool_id == block[field] else {**block, field: tool_id}


def _tool_id(tool_id: str) -> str:
    """Return an ID that Anthropic accepts, derived from the original, so that a tool call and its result match."""
    tool_id, _ = split_id(tool_id)
    if tool_id and not _INVALID_CHARACTERS.search(tool_id):
        return tool_id
    digest = hashlib.sha256(tool_id.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{_INVALID_CHARACTERS.sub('_', tool_id)}_{digest[:_HASH_LENGTH]}"
