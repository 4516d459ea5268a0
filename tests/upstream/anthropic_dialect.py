"""Replies in Anthropic's dialect: Messages, plain and as events."""

import json
from typing import Any

from .replies import HELLO, Reply, ToolCall

_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tools": "tool_use",
    "stop_sequence": "stop_sequence",
    "refusal": "refusal",
}
_ERROR_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_SIGNATURE = "c2NyaXB0ZWQ="


def anthropic_response(reply: Reply = HELLO, *, model: str = "scripted") -> dict[str, Any]:
    """Return a Message."""
    content: list[dict[str, Any]] = []
    if reply.thinking:
        content.append({"type": "thinking", "thinking": "".join(reply.thinking), "signature": _SIGNATURE})
    if reply.texts:
        content.append({"type": "text", "text": "".join(reply.texts)})
    content += [_tool_use(tool_call, input=_parsed(tool_call.arguments)) for tool_call in reply.tool_calls]
    message = _message(model) | _ending(reply) | {"content": content}
    return message if reply.usage is None else message | {"usage": _usage_in(reply, reply.usage[1])}


def anthropic_stream(reply: Reply = HELLO, *, model: str = "scripted") -> list[bytes]:
    """Return the frames of a stream, one event each, with a ping after the start of the first block."""
    message = _message(model)
    if reply.usage is not None:
        message["usage"] = _usage_in(reply, 1)
    events = [{"type": "message_start", "message": message}, *_block_events(reply)]
    events.insert(2, {"type": "ping"})
    events += _message_deltas(reply)
    events.append({"type": "message_stop"})
    return [anthropic_frame(event) for event in events]


def anthropic_frame(event: dict[str, Any]) -> bytes:
    """Return an event as its two lines, without ASCII escapes."""
    return b"event: %s\ndata: %s\n\n" % (event["type"].encode(), json.dumps(event, ensure_ascii=False).encode())


def anthropic_error(status: int, message: str) -> dict[str, Any]:
    kind = _ERROR_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_scripted"}


def anthropic_models(names: list[str]) -> dict[str, Any]:
    data = [{"type": "model", "id": name, "display_name": name, "created_at": "2026-01-01T00:00:00Z"} for name in names]
    return {"data": data, "has_more": False, "first_id": names[0], "last_id": names[-1]}


def _message(model: str) -> dict[str, Any]:
    return {
        "id": "msg_scripted",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _block_events(reply: Reply) -> list[dict[str, Any]]:
    blocks: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
    if reply.thinking:
        deltas = [{"type": "thinking_delta", "thinking": text} for text in reply.thinking]
        signature = {"type": "signature_delta", "signature": _SIGNATURE}
        blocks.append(({"type": "thinking", "thinking": "", "signature": ""}, [*deltas, signature]))
    if reply.texts:
        blocks.append(({"type": "text", "text": ""}, [{"type": "text_delta", "text": text} for text in reply.texts]))
    for tool_call in reply.tool_calls:
        pieces = ["", *tool_call.pieces]
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
        blocks.append((_tool_use(tool_call, input={}), deltas))
    events: list[dict[str, Any]] = []
    for i, (block, deltas) in enumerate(blocks):
        events.append({"type": "content_block_start", "index": i, "content_block": block})
        events += [{"type": "content_block_delta", "index": i, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": i})
    return events


def _message_deltas(reply: Reply) -> list[dict[str, Any]]:
    last: dict[str, Any] = {"type": "message_delta", "delta": _ending(reply)}
    if reply.usage is None:
        return [last]
    last["usage"] = {"output_tokens": reply.usage[1]}
    if not reply.running_usage:
        return [last]
    delta = {"stop_reason": None, "stop_sequence": None}
    return [{"type": "message_delta", "delta": delta, "usage": {"output_tokens": reply.usage[1] // 2}}, last]


def _ending(reply: Reply) -> dict[str, Any]:
    reason = "refusal" if reply.refusal else _STOP_REASONS[reply.stop]
    ending: dict[str, Any] = {"stop_reason": reason, "stop_sequence": "END" if reason == "stop_sequence" else None}
    if reason == "refusal":
        ending["stop_details"] = {"type": "refusal", "category": None, "explanation": reply.refusal or None}
    return ending


def _usage_in(reply: Reply, output: Any) -> dict[str, Any]:
    assert reply.usage is not None
    return {
        "input_tokens": reply.usage[0] - reply.cached if reply.cached else reply.usage[0],
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": reply.cached,
        "output_tokens": output,
    }


def _tool_use(tool_call: ToolCall, *, input: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": tool_call.id, "name": tool_call.name, "input": input}


def _parsed(arguments: str) -> Any:
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments
