"""Complete responses as the events of a stream, and the events of a stream as a complete response."""

import re
from collections.abc import Iterable
from typing import Any

from messages_api.backend.protocol import events, wire
from messages_api.backend.protocol.healing import CALLS
from messages_api.backend.protocol.response_content import parse_arguments
from messages_api.backend.protocol.sse import BOM, FrameTooLarge, SSEParser
from messages_api.backend.protocol.types import Block, Event, JSONObject, Message

_STREAM_STARTS = (b"data:", b"event:", b"id:", b"retry:", b":")
_SEARCHED_BYTES = 64 * 1024
_GENERATED = re.compile(
    rb'"(?:choices|content|usage|delta)"\s*:(?!\s*(?:null|""|\[\s*\]|\{\s*\}))|"message"\s*:\s*\{|"content_block'
)

_CONTENT = re.compile(
    rb'"(?:content|reasoning|reasoning_content|tool_calls|arguments|usage)"\s*:(?!\s*(?:null|""|\[\s*\]|\{\s*\}))'
)


def is_stream(raw: bytes) -> bool:
    """Whether a body is server-sent events."""
    return raw[:_SEARCHED_BYTES].removeprefix(BOM).lstrip().startswith(_STREAM_STARTS)


def first_data(raw: bytes) -> bytes:
    """Return the data of the first event of a body; the body itself if none is complete."""
    parser = SSEParser()
    try:
        records = [*parser.feed(raw[:_SEARCHED_BYTES]), *parser.eof()]
    except FrameTooLarge:
        return raw
    return records[0].data.encode() if records else raw


def is_json(raw: bytes) -> bool:
    """Whether a body starts as a JSON object or array, as no stream does."""
    return raw[:_SEARCHED_BYTES].removeprefix(BOM).lstrip()[:1] in (b"{", b"[")


def is_generated(raw: bytes) -> bool:
    """Whether a body that cannot be read, or not completely, has content or usage: the upstream generated it."""
    return (is_json(raw) or is_stream(raw)) and _GENERATED.search(raw[:_SEARCHED_BYTES]) is not None


def has_content(raw: bytes) -> bool:
    """Whether a response that reports a failed generation has content or usage all the same."""
    return _CONTENT.search(raw[:_SEARCHED_BYTES]) is not None


def events_of(message: JSONObject) -> list[Event]:
    """Return the events of a complete message. Its blocks are sent in one delta each."""
    usage = message.get("usage")
    started = {**message, "content": [], "stop_reason": None, "stop_sequence": None}
    stop = {name: message[name] for name in ("stop_reason", "stop_sequence", "stop_details") if name in message}
    ended: JSONObject = {"type": "message_delta", "delta": stop, "usage": usage}
    blocks = [event for index, block in enumerate(message["content"]) for event in _block_events(index, block)]
    start: JSONObject = {"type": "message_start", "message": started}
    return [_event(start), *blocks, _event(ended), events.message_stop()]


def message_of(stream: Iterable[Event]) -> Message:
    """Return the message that the events of a complete stream add up to."""
    message: JSONObject = {}
    blocks: list[_OpenBlock] = []
    for event in stream:
        kind = event["type"]
        if kind == "message_start":
            message = {**event["message"]}
        elif kind == "content_block_start":
            blocks.append(_OpenBlock(event["content_block"]))
        elif kind == "content_block_delta":
            blocks[-1].add(event["delta"])
        elif kind == "message_delta":
            message |= event["delta"]
            known = {name: count for name, count in (event.get("usage") or {}).items() if count is not None}
            message["usage"] = {**(message.get("usage") or {}), **known}
    whole: Message = {**message, "content": [block.whole() for block in blocks]}  # type: ignore[typeddict-item]
    return whole


class _OpenBlock:
    """A block and the pieces of its deltas."""

    def __init__(self, block: Block) -> None:
        self._block = block
        self._pieces: dict[str, list[str]] = {}
        self._citations: list[Any] = []

    def add(self, delta: JSONObject) -> None:
        if "citation" in delta:
            self._citations.append(delta["citation"])
        for field in ("text", "thinking", "partial_json", "signature"):
            if isinstance(delta.get(field), str):
                self._pieces.setdefault(field, []).append(delta[field])

    def whole(self) -> Block:
        block = dict(self._block)
        for field, pieces in self._pieces.items():
            if field == "partial_json":
                block["input"] = parse_arguments("".join(pieces))
            else:
                block[field] = str(block.get(field) or "") + "".join(pieces)
        return {**block, "citations": self._citations} if self._citations else block


def _block_events(index: int, block: Block) -> list[Event]:
    kind = block["type"]
    deltas: list[Event] = []
    started = block
    if kind in events.EMPTY_BLOCKS:
        started = events.EMPTY_BLOCKS[kind]
        if block[kind]:
            deltas.append(events.block_delta(index, events.DELTA_OF_BLOCK[kind], block[kind]))
        for citation in block.get("citations") or []:
            deltas.append(_delta(index, {"type": "citations_delta", "citation": citation}))
        if block.get("signature"):
            deltas.append(_delta(index, {"type": "signature_delta", "signature": block["signature"]}))
    elif kind in CALLS and block.get("input"):
        started = {**block, "input": {}}
        deltas.append(events.block_delta(index, "input_json_delta", wire.encode_text(block["input"])))
    return [events.block_start(index, started), *deltas, events.block_stop(index)]


def _delta(index: int, delta: JSONObject) -> Event:
    return _event({"type": "content_block_delta", "index": index, "delta": delta})


def _event(event: JSONObject) -> Event:
    built: Event = event  # type: ignore[assignment]
    return built
