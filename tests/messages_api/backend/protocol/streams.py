"""Builders and readers of streams in both dialects."""

from typing import Any

from messages_api.backend.protocol.decoder import OpenAIDecoder
from messages_api.backend.protocol.ids import Ids
from messages_api.backend.protocol.types import Event

REQUEST: Any = {"model": "m1", "max_tokens": 64, "messages": [{"role": "user", "content": "hi"}]}

DONE = "[DONE]"
USAGE = {"prompt_tokens": 1, "completion_tokens": 2}


def counting_ids() -> Ids:
    """Return IDs that yield msg_0 and toolu_0_1, toolu_0_2, …"""
    return Ids("0")


def chunk(delta: object = None, *, finish: object = None, **fields: object) -> dict[str, Any]:
    """Return a chunk with one choice. `fields` are beside `choices`."""
    return {"choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish}], **fields}


def fragment(arguments: object = None, *, index: int | None = 0, id: str = "", name: str = "") -> dict[str, Any]:
    """Return a fragment of a tool call."""
    function = {"name": name} if name else {}
    piece: dict[str, Any] = {"function": {**function, "arguments": arguments}}
    if index is not None:
        piece["index"] = index
    return {**piece, "id": id} if id else piece


def call(*fragments: dict[str, Any]) -> dict[str, Any]:
    """Return a chunk with these fragments of tool calls."""
    return chunk({"tool_calls": list(fragments)})


def text(piece: str) -> dict[str, Any]:
    return chunk({"content": piece})


def decoder(*, request: Any = REQUEST, **options: Any) -> OpenAIDecoder:
    return OpenAIDecoder(request, ids=counting_ids(), **options)


def decode(*frames: object, eof: bool = True, **options: Any) -> list[Event]:
    """Return the events of a complete stream; its frames are chunks or `DONE`."""
    stream = decoder(**options)
    events: list[Event] = []
    for frame in frames:
        events += stream.done() if frame == DONE else stream.feed(frame)
    return events + stream.eof() if eof else events


def written(events: list[Event]) -> list[Any]:
    """Return the blocks of a stream as `[kind, piece, piece, …]`, followed by its stop reason or its error type."""
    blocks: list[Any] = []
    for event in events:
        if event["type"] == "content_block_start":
            block = event["content_block"]
            blocks.append([block.get("name", block["type"])])
        elif event["type"] == "content_block_delta":
            delta = event["delta"]
            blocks[-1].append(next(value for key, value in delta.items() if key != "type"))
        elif event["type"] == "message_delta":
            blocks.append(event["delta"]["stop_reason"])
        elif event["type"] == "error":
            blocks.append(event["error"]["type"])
    return blocks


def tool_ids_of(events: list[Event]) -> list[str]:
    starts = [event["content_block"] for event in events if event["type"] == "content_block_start"]
    return [block["id"] for block in starts if block["type"] == "tool_use"]


def last_usage(events: list[Event]) -> Any:
    return next(event["usage"] for event in reversed(events) if event["type"] == "message_delta")


def check_grammar(events: list[Event]) -> None:
    """Check that the events are a complete stream, or the start of one followed by an error.

    stream = message_start block* message_delta message_stop | (any prefix of it) error
    block  = content_block_start content_block_delta* content_block_stop
    """
    kinds = [event["type"] for event in events]
    if kinds[-1] == "error":
        kinds.pop()
    else:
        assert kinds[-2:] == ["message_delta", "message_stop"]
        del kinds[-2:]
    if not kinds:
        return
    assert kinds[0] == "message_start"
    open_index, next_index = None, 0
    for event, kind in zip(events[1:], kinds[1:], strict=False):
        if kind == "content_block_start":
            assert open_index is None and event["index"] == next_index
            open_index, next_index = next_index, next_index + 1
        else:
            assert kind in ("content_block_delta", "content_block_stop") and event["index"] == open_index
            if kind == "content_block_stop":
                open_index = None
    assert events[-1]["type"] == "error" or open_index is None
