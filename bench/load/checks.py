"""Checks of responses and streams, field by field, against what the mock upstream sends."""

import json
from typing import Any

from bench.load.bodies import INPUT_TOKENS, OUTPUT_TOKENS, TEXT

WRONG_SHAPE = (ValueError, KeyError, IndexError, TypeError, AttributeError, StopIteration)


def problems_of_response(api_format: str, raw: bytes) -> list[str]:
    """Return what is wrong with the body of a plain response."""
    check = _message if api_format == "anthropic" else _completion
    try:
        return check(json.loads(raw), api_format)
    except WRONG_SHAPE as error:
        return [f"no response in the format {api_format}: {error!r}"]


def problems_of_stream(api_format: str, raw: bytes, chunks: int) -> list[str]:
    """Return what is wrong with the complete body of a stream of so many chunks."""
    check = _events if api_format == "anthropic" else _chunks
    try:
        return check(api_format, server_sent_events(raw), chunks)
    except WRONG_SHAPE as error:
        return [f"no stream in the format {api_format}: {error!r}"]


def server_sent_events(raw: bytes) -> list[tuple[str | None, str]]:
    """Return the name and the data of each event, without comments."""
    found: list[tuple[str | None, str]] = []
    for block in raw.replace(b"\r\n", b"\n").split(b"\n\n"):
        name, data = None, []
        for line in block.split(b"\n"):
            if line.startswith(b"event:"):
                name = line[6:].strip().decode()
            elif line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" ").decode())
        if name or data:
            found.append((name, "\n".join(data)))
    return found


def _message(body: dict[str, Any], api_format: str) -> list[str]:
    return _differences(
        type=(body["type"], "message"),
        text=("".join(block["text"] for block in body["content"]), TEXT),
        stop_reason=(body["stop_reason"], "end_turn"),
        input_tokens=(body["usage"]["input_tokens"], INPUT_TOKENS),
        output_tokens=(body["usage"]["output_tokens"], OUTPUT_TOKENS),
    )


def _completion(body: dict[str, Any], api_format: str) -> list[str]:
    problems = []
    if api_format == "envelope":
        problems = _differences(
            keys=(sorted(body), ["code", "data", "message", "success"]),
            success=(body["success"], True),
            code=(body["code"], "200"),
        )
        body = body["data"]
    choice = body["choices"][0]
    return problems + _differences(
        object=(body["object"], "chat.completion"),
        text=(choice["message"]["content"], TEXT),
        finish_reason=(choice["finish_reason"], "stop"),
        prompt_tokens=(body["usage"]["prompt_tokens"], INPUT_TOKENS),
        completion_tokens=(body["usage"]["completion_tokens"], OUTPUT_TOKENS),
    )


def _chunks(api_format: str, seen: list[tuple[str | None, str]], chunks: int) -> list[str]:
    problems = []
    if api_format == "envelope" and any(name for name, _ in seen):
        problems.append("has event: lines")
    data = [data for _, data in seen]
    if data.count("[DONE]") != 1 or data[-1] != "[DONE]":
        problems.append("does not end with one [DONE]")
    items = [json.loads(text) for text in data if text != "[DONE]"]
    if failed := [item for item in items if "error" in item]:
        return [*problems, f"error event: {failed[0]}"]
    choices = [choice for item in items for choice in item["choices"]]
    usage: dict[str, Any] = next((item["usage"] for item in reversed(items) if item.get("usage")), {})
    return problems + _differences(
        object=({item["object"] for item in items}, {"chat.completion.chunk"}),
        ids=(len({item["id"] for item in items}), 1),
        finish_reasons=([c["finish_reason"] for c in choices if c.get("finish_reason")], ["stop"]),
        sequence=(_numbers("".join(c["delta"].get("content") or "" for c in choices)), list(range(chunks))),
        prompt_tokens=(usage.get("prompt_tokens"), INPUT_TOKENS),
        completion_tokens=(usage.get("completion_tokens"), OUTPUT_TOKENS),
    )


def _events(api_format: str, seen: list[tuple[str | None, str]], chunks: int) -> list[str]:
    items = [json.loads(data) for _, data in seen]
    if failed := [item for item in items if item["type"] == "error"]:
        return [f"error event: {failed[0]}"]
    names = [name for name, _ in seen if name != "ping"]
    order = [name for i, name in enumerate(names) if i == 0 or names[i - 1] != name]
    deltas = [item for item in items if item["type"] == "content_block_delta"]
    end = [item for item in items if item["type"] == "message_delta"][-1]
    start = next(item for item in items if item["type"] == "message_start")
    inputs = {event.get("usage", {}).get("input_tokens") for event in (start["message"], end)}
    return _differences(
        names=([name for name, _ in seen], [item["type"] for item in items]),
        order=(
            order,
            ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta",
             "message_stop"],
        ),
        sequence=(_numbers("".join(delta["delta"]["text"] for delta in deltas)), list(range(chunks))),
        stop_reason=(end["delta"]["stop_reason"], "end_turn"),
        input_tokens=(INPUT_TOKENS in inputs, True),
        output_tokens=(end["usage"]["output_tokens"], OUTPUT_TOKENS),
    )  # fmt: skip


def _numbers(text: str) -> list[int]:
    """Return the sequence numbers in the texts of the deltas, which are "<number>:<microseconds> "."""
    return [int(word.partition(":")[0]) for word in text.split()]


def _differences(**pairs: tuple[Any, Any]) -> list[str]:
    return [
        f"{name}: {str(found)[:60]}, expected {str(expected)[:60]}"
        for name, (found, expected) in pairs.items()
        if found != expected
    ]
