"""Constructors of Anthropic stream events and of the Message that they add up to."""

from messages_api.backend.protocol.types import Block, Event, JSONObject, Message
from messages_api.backend.protocol.usage import Usage

PAYLOADS = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}
"""The field of each delta type that has the model's output."""

EMPTY_BLOCKS: dict[str, Block] = {
    "text": {"type": "text", "text": ""},
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
}
"""Blocks that start empty."""


def message(message_id: str, *, model: str, content: list[Block], stop: JSONObject, usage: Usage) -> Message:
    """Return a Message. `stop` has `stop_reason`, `stop_sequence` and optionally `stop_details`."""
    built: Message = {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": stop["stop_reason"],
        "stop_sequence": stop["stop_sequence"],
        "usage": usage.anthropic(),
    }
    if "stop_details" in stop:
        built["stop_details"] = stop["stop_details"]
    return built


def message_start(message_id: str, *, model: str, usage: Usage) -> Event:
    """Return the first event. Its output count is 0 for any usage: no output exists yet."""
    started = message(
        message_id, model=model, content=[], stop={"stop_reason": None, "stop_sequence": None}, usage=usage
    )
    started["usage"] = {**started["usage"], "output_tokens": 0}
    started["usage"].pop("output_tokens_details", None)
    return {"type": "message_start", "message": started}


def block_start(index: int, block: Block) -> Event:
    return {"type": "content_block_start", "index": index, "content_block": dict(block)}


def block_delta(index: int, kind: str, payload: str) -> Event:
    """Return a delta of one of the `PAYLOADS`."""
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, PAYLOADS[kind]: payload}}


def block_stop(index: int) -> Event:
    return {"type": "content_block_stop", "index": index}


def message_delta(*, stop: JSONObject, usage: Usage) -> Event:
    return {"type": "message_delta", "delta": stop, "usage": usage.anthropic()}


def message_stop() -> Event:
    return {"type": "message_stop"}


def error(error_type: str, text: str) -> Event:
    return {"type": "error", "error": {"type": error_type, "message": text}}
