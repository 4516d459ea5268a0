"""Repair of Anthropic messages and blocks that lack fields without which the official SDKs fail."""

from messages_api.backend.protocol.error_mapping import INVALID_EVENT, UpstreamResponseError
from messages_api.backend.protocol.events import EMPTY_BLOCKS
from messages_api.backend.protocol.ids import Ids
from messages_api.backend.protocol.types import Block, JSONObject

CALLS = ("tool_use", "server_tool_use", "mcp_tool_use")
"""Blocks with an `input`, which arrives as text."""


def healed_block(block: object, ids: Ids | None) -> Block:
    """Return a block with the fields that encoders and SDKs read. An intact one, or one of an unknown type, is itself.

    `ids` replaces a missing ID of a tool call. Raise UpstreamResponseError if the block cannot be read.
    """
    if not isinstance(block, dict) or not isinstance(block.get("type"), str):
        raise UpstreamResponseError(INVALID_EVENT)
    kind = block["type"]
    missing: JSONObject = {}
    if kind in EMPTY_BLOCKS:
        missing = {name: value for name, value in EMPTY_BLOCKS[kind].items() if block.get(name) is None}
    elif kind in CALLS:
        if not isinstance(block.get("input"), dict):
            missing["input"] = {}
        if not block.get("id") and ids is not None:
            missing["id"] = ids.tool("")
    healed = {**block, **missing} if missing else block
    texts = ("id", "name") if kind == "tool_use" else (kind,) if kind in EMPTY_BLOCKS else ()
    if not has_texts(healed, *texts):
        raise UpstreamResponseError(INVALID_EVENT)
    return healed


def healed_message(message: JSONObject, *, model: str, ids: Ids | None) -> JSONObject:
    """Return a message with an ID, a model, and its constant fields. An intact one is itself.

    Raise UpstreamResponseError if the ID is missing and `ids` does not replace it.
    """
    missing: JSONObject = {}
    if not message.get("id") and ids is not None:
        missing["id"] = ids.message()
    for name, value in (("type", "message"), ("role", "assistant"), ("model", model)):
        if message.get(name) is None:
            missing[name] = value
    healed = {**message, **missing} if missing else message
    if not has_texts(healed, "id", "model"):
        raise UpstreamResponseError(INVALID_EVENT)
    return healed


def has_texts(value: JSONObject, *fields: str) -> bool:
    return all(isinstance(value.get(field), str) for field in fields)
