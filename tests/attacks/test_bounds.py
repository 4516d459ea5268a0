"""What an upstream can make the gateway hold and decode is bounded."""

import time
from typing import Any

import pytest

from lib import pace
from lib.json_size import TooManyValues
from messages_api.backend.event_source import FrameBuffer
from messages_api.backend.protocol import content_writer, error_mapping, sse, wire
from messages_api.backend.protocol.decoder import OpenAIDecoder
from messages_api.backend.protocol.ids import Ids

REQUEST: Any = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "Hi"}], "stream": True}


def openai_decoder() -> OpenAIDecoder:
    return OpenAIDecoder(REQUEST, ids=Ids("1"))


def chunk(**delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta}]}


@pytest.mark.parametrize("piece", [b": ping\n", b"event: a\n", b"x"])
def test_a_frame_that_never_ends_is_not_buffered_without_limit(monkeypatch: pytest.MonkeyPatch, piece: bytes) -> None:
    monkeypatch.setattr(sse, "MAX_FRAME_BYTES", 1000)
    frames = FrameBuffer()

    with pytest.raises(sse.FrameTooLarge):
        for _ in range(2000):
            frames.feed(piece)


@pytest.mark.parametrize(
    "delta",
    [
        pytest.param({"content": "text" * 10}, id="text"),
        pytest.param({"tool_calls": [{"index": 0, "function": {"arguments": '"a":{'}}]}, id="arguments"),
    ],
)
def test_what_an_unfinished_tool_call_holds_up_is_bounded(
    monkeypatch: pytest.MonkeyPatch, delta: dict[str, Any]
) -> None:
    monkeypatch.setattr(content_writer, "MAX_HELD_CHARACTERS", 1000)
    stream = openai_decoder()
    stream.feed(chunk(tool_calls=[{"index": 0, "id": "c", "function": {"name": "t", "arguments": "{"}}]))

    events = [event for _ in range(100) for event in stream.feed(chunk(**delta))]

    assert events[-1]["type"] == "error" and stream.error is error_mapping.TOO_MUCH_HELD


def test_a_response_with_too_many_values_is_not_decoded() -> None:
    with pytest.raises(TooManyValues):
        wire.decode(b"[" + b"[]," * wire.MAX_VALUES + b"1]")
    assert len(wire.decode(b"[" + b"1," * (wire.MAX_VALUES // 2) + b"1]")) == wire.MAX_VALUES // 2 + 1


def test_long_work_yields_after_a_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    yields: list[float] = []
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", yields.append)
    step = pace.pace()

    for _ in range(100):
        now[0] += pace.SLICE_S * 0.4
        step()

    assert yields == [pace.YIELD_S] * 33  # every third step
