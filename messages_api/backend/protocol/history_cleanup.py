"""What other upstreams left behind in a history that goes to Anthropic, where it would be a 400."""

import hashlib
import re

from messages_api.backend.protocol.types import Block, JSONObject

_FOREIGN = re.compile(r"[^a-zA-Z0-9_-]")
_HASH_LENGTH = 8

_ID_FIELDS = {"tool_use": "id", "tool_result": "tool_use_id"}


def clean_history(body: JSONObject) -> tuple[bool, JSONObject]:
    """Return whether a request shows traces of another upstream, and the request without them.

    Thinking without a signature, blank text of the assistant and messages that become empty are removed; tool ids are
    rewritten. Without traces the body itself comes back: then its original bytes can be sent.
    """
    messages = body["messages"]
    repaired = [kept for message in messages if (kept := _message(message)) is not None]
    if len(repaired) == len(messages) and all(new is old for new, old in zip(repaired, messages, strict=True)):
        return False, body
    return True, {**body, "messages": repaired}


def _message(message: JSONObject) -> JSONObject | None:
    """Return a message without traces, which is itself if it has none; None if nothing is left of it."""
    content, is_assistant = message["content"], message["role"] == "assistant"
    if isinstance(content, str):
        return None if is_assistant and not content.strip() else message
    blocks = [_block(block) for block in content if not (is_assistant and _is_trace(block))]
    if len(blocks) == len(content) and all(new is old for new, old in zip(blocks, content, strict=True)):
        return message
    return {**message, "content": blocks} if blocks else None


def _is_trace(block: object) -> bool:
    """Whether a block can only come from another upstream. Signed thinking never is one, even when it is empty."""
    if not isinstance(block, dict):
        return False
    if block.get("type") == "thinking":
        return not block.get("signature")
    return block.get("type") == "text" and isinstance(block.get("text"), str) and not block["text"].strip()


def _block(block: Block) -> Block:
    field = _ID_FIELDS.get(block.get("type", "")) if isinstance(block, dict) else None
    if field is None or not isinstance(block.get(field), str):
        return block
    tool_id = _tool_id(block[field])
    return block if tool_id == block[field] else {**block, field: tool_id}


def _tool_id(tool_id: str) -> str:
    """Return an id that Anthropic takes. It depends on the original alone, so that a call and its result agree."""
    if tool_id and not _FOREIGN.search(tool_id):
        return tool_id
    digest = hashlib.sha256(tool_id.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{_FOREIGN.sub('_', tool_id)}_{digest[:_HASH_LENGTH]}"
