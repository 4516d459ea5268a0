"""Replies in OpenAI's dialect: Chat Completions, plain and as chunks."""

import json
from typing import Any

from .replies import HELLO, Reply

_FINISH = {
    "stop": "stop",
    "length": "length",
    "tools": "tool_calls",
    "stop_sequence": "stop",
    "refusal": "content_filter",
}
_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
}
DONE = b"data: [DONE]\n\n"


def openai_response(reply: Reply = HELLO, *, model: str = "scripted") -> dict[str, Any]:
    """Return a `chat.completion`."""
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(reply.texts) if reply.texts else None,
        "refusal": reply.refusal or None,
    }
    if reply.thinking:
        message["reasoning_content"] = "".join(reply.thinking)
    if reply.tool_calls:
        message["tool_calls"] = [
            {
                "id": tool_call.id,
                "type": "function",
                "function": {"name": tool_call.name, "arguments": tool_call.arguments},
            }
            for tool_call in reply.tool_calls
        ]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(reply)}
    response = _envelope("chat.completion", model) | {"choices": [choice]}
    return response if reply.usage is None else response | {"usage": openai_usage(reply, reply.usage)}


def openai_stream(reply: Reply = HELLO, *, model: str = "scripted", include_usage: bool = True) -> list[bytes]:
    """Return the frames of a stream, one chunk each, `[DONE]` last; usage comes in a chunk without choices."""
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"reasoning_content": text} for text in reply.thinking]
    deltas += [{"content": text} for text in reply.texts]
    deltas += [{"refusal": reply.refusal}] if reply.refusal else []
    for i, tool_call in enumerate(reply.tool_calls):
        function = {"name": tool_call.name, "arguments": ""}
        deltas.append({"tool_calls": [{"index": i, "id": tool_call.id, "type": "function", "function": function}]})
        deltas += [{"tool_calls": [{"index": i, "function": {"arguments": piece}}]} for piece in tool_call.pieces]
    chunks = [_chunk(model, delta=delta) for delta in deltas] + [_chunk(model, delta={}, finish=_finish(reply))]
    if reply.running_usage and reply.usage:
        for i, chunk in enumerate(chunks):
            chunk["usage"] = openai_usage(reply, (reply.usage[0], reply.usage[1] * i // (len(chunks) - 1)))
    if include_usage and reply.usage is not None:
        chunks.append(_envelope("chat.completion.chunk", model) | {"choices": []})
        chunks[-1]["usage"] = openai_usage(reply, reply.usage)
    return [openai_frame(chunk) for chunk in chunks] + [DONE]


def openai_usage(reply: Reply, tokens: tuple[Any, Any]) -> dict[str, Any]:
    total = tokens[0] + tokens[1] if all(isinstance(count, int) for count in tokens) else tokens[1]
    usage: dict[str, Any] = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": total}
    if reply.cached:
        usage["prompt_tokens_details"] = {"cached_tokens": reply.cached}
    return usage


def openai_frame(chunk: dict[str, Any]) -> bytes:
    """Return a chunk as one line of data, without ASCII escapes."""
    return b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n"


def openai_error(status: int, message: str) -> dict[str, Any]:
    kind = _ERROR_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


def openai_models(names: list[str]) -> dict[str, Any]:
    data = [{"id": name, "object": "model", "created": 1767225600, "owned_by": "scripted"} for name in names]
    return {"object": "list", "data": data}


def _envelope(kind: str, model: str) -> dict[str, Any]:
    return {"id": "chatcmpl-scripted", "object": kind, "created": 1767225600, "model": model}


def _chunk(model: str, *, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return _envelope("chat.completion.chunk", model) | {"choices": [choice]}


def _finish(reply: Reply) -> str:
    # A refusal in text is a complete response; `content_filter` is for a filter that cut it.
    return "stop" if reply.refusal else _FINISH[reply.stop]
