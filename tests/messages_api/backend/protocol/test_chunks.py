"""Encoding for OpenAI clients: completions, and streams of chunks."""

import json
from typing import Any

import pytest

from messages_api.backend.protocol.chunks import ChunkEncoder, completion_from_message
from messages_api.backend.protocol.types import Event

USAGE = {"input_tokens": 3, "output_tokens": 2}
HEAD = b'data: {"id":"msg_9","object":"chat.completion.chunk","created":5,"model":"m1","choices":[{"index":0,"delta":'
TAIL = b',"finish_reason":null}]}\n\n'


def message(*blocks: Any, stop_reason: Any = "end_turn", usage: Any = USAGE) -> Any:
    return {
        "id": "msg_9",
        "type": "message",
        "role": "assistant",
        "model": "m1",
        "content": list(blocks),
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": usage,
    }


START: Any = {"type": "message_start", "message": message(stop_reason=None)}


def start(block: Any, index: int = 0) -> Any:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(kind: str, payload: str, index: int = 0) -> Any:
    field = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}.get(
        kind, "partial_json"
    )
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, field: payload}}


def stop(index: int = 0) -> Any:
    return {"type": "content_block_stop", "index": index}


def message_delta(stop_reason: Any = "end_turn", **usage: int) -> Any:
    return {"type": "message_delta", "delta": {"stop_reason": stop_reason}, "usage": usage}


STOP: Any = {"type": "message_stop"}


def encode(*events: Event, eof: bool = False) -> list[bytes]:
    """Return the lines for these events, without those for `START`."""
    encoder = ChunkEncoder(created=5)
    encoder.feed(START)
    lines = [line for event in events for line in encoder.feed(event)]
    return lines + encoder.eof() if eof else lines


def deltas(lines: list[bytes]) -> list[Any]:
    assert all(line.startswith(HEAD) and line.endswith(TAIL) for line in lines)
    return [json.loads(line.removeprefix(HEAD).removesuffix(TAIL)) for line in lines]


def test_a_chunk_is_one_line() -> None:
    encoder = ChunkEncoder(created=5)

    lines = encoder.feed(START) + encoder.feed(delta("text_delta", "Hé\u2028"))

    assert lines == [
        HEAD + b'{"role":"assistant","content":""}' + TAIL,
        HEAD + b'{"content":"H\xc3\xa9\\u2028"}' + TAIL,
    ]


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        pytest.param(delta("text_delta", "a"), [{"content": "a"}], id="text"),
        pytest.param(delta("text_delta", "\ud83d"), [{"content": "\ud83d"}], id="a lone surrogate"),
        pytest.param(delta("text_delta", ""), [], id="empty text"),
        pytest.param(start({"type": "text", "text": "a"}), [{"content": "a"}], id="a start with text"),
        pytest.param(start({"type": "text", "text": ""}), [], id="a start without text"),
        pytest.param(start({"type": "text"}), [], id="a bare start"),
        pytest.param(delta("thinking_delta", "a"), [{"reasoning_content": "a"}], id="thinking"),
        pytest.param(delta("thinking_delta", ""), [], id="empty thinking"),
        pytest.param(
            start({"type": "thinking", "thinking": "a"}), [{"reasoning_content": "a"}], id="a start with thinking"
        ),
        pytest.param(start({"type": "thinking"}), [], id="a bare start of thinking"),
        pytest.param(delta("signature_delta", "S"), [], id="a signature"),
        pytest.param(delta("input_json_delta", "{"), [], id="arguments of no tool"),
        pytest.param(start({"type": "server_tool_use", "id": "s", "name": "n", "input": {}}), [], id="a server tool"),
        pytest.param(stop(), [], id="a stop"),
        pytest.param({"type": "future"}, [], id="an unknown event"),
    ],
)
def test_each_event_has_its_chunks(event: Any, expected: list[Any]) -> None:
    assert deltas(encode(event)) == expected


def test_tools_are_counted_alone_and_get_their_arguments_once() -> None:
    lines = encode(
        start({"type": "text", "text": ""}, 0),
        stop(0),
        start({"type": "tool_use", "id": "t1", "name": "a", "input": {}}, 1),
        delta("input_json_delta", "", 1),
        delta("input_json_delta", '{"x":', 1),
        delta("input_json_delta", "1}", 1),
        stop(1),
        stop(1),
        start({"type": "server_tool_use", "id": "s1", "name": "n", "input": {}}, 2),
        delta("input_json_delta", "{}", 2),
        stop(2),
        start({"type": "tool_use", "id": "t2", "name": "b", "input": {"y": "é"}}, 3),
        stop(3),
        start({"type": "tool_use", "id": "t3", "name": "c"}, 4),
        stop(4),
    )

    def arguments(number: int, text: str) -> Any:
        return {"tool_calls": [{"index": number, "function": {"arguments": text}}]}

    def call(number: int, tool_id: str, name: str) -> Any:
        function = {"name": name, "arguments": ""}
        return {"tool_calls": [{"index": number, "id": tool_id, "type": "function", "function": function}]}

    assert deltas(lines) == [
        call(0, "t1", "a"),
        arguments(0, '{"x":'),
        arguments(0, "1}"),
        call(1, "t2", "b"),
        arguments(1, '{"y":"é"}'),
        call(2, "t3", "c"),
        arguments(2, "{}"),
    ]


def test_a_stream_ends_with_its_usage_and_the_end_mark() -> None:
    lines = encode(message_delta("max_tokens", output_tokens=7), STOP, eof=True)

    assert lines == [
        HEAD + b'{},"finish_reason":"length"}],"usage":{"prompt_tokens":3,"completion_tokens":7,"total_tokens":10,'
        b'"prompt_tokens_details":{"cached_tokens":0,"cache_write_tokens":0}}}\n\n',
        b"data: [DONE]\n\n",
    ]


def test_a_later_message_delta_completes_the_first() -> None:
    lines = encode(
        message_delta("tool_use", output_tokens=7), message_delta(None, input_tokens=0, output_tokens=9), STOP
    )

    finish = json.loads(lines[0].removeprefix(b"data: "))
    assert finish["choices"][0]["finish_reason"] == "tool_calls"
    assert (finish["usage"]["prompt_tokens"], finish["usage"]["completion_tokens"]) == (3, 9)


def test_a_message_delta_may_come_without_usage() -> None:
    event: Any = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}

    assert b'"completion_tokens":2' in encode(event, STOP)[0]


def test_a_ping_is_a_comment() -> None:
    assert encode({"type": "ping"}) == [b": ping\n"]


def test_an_error_is_a_line_without_an_end_mark() -> None:
    error: Any = {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}

    assert encode(error, STOP, eof=True) == [
        b'data: {"error":{"type":"overloaded_error","message":"busy","param":null,"code":"overloaded_error"}}\n\n'
    ]


CUT = (
    b'data: {"error":{"type":"api_error","message":"The upstream stream ended before the response was complete.",'
    b'"param":null,"code":"api_error"}}\n\n'
)


@pytest.mark.parametrize(
    ("events", "last"),
    [
        pytest.param([], CUT, id="at once"),
        pytest.param([delta("text_delta", "a")], CUT, id="in a text"),
        pytest.param([message_delta(None, output_tokens=1)], CUT, id="without a stop reason"),
        pytest.param([message_delta("end_turn")], b"data: [DONE]\n\n", id="with a stop reason"),
    ],
)
def test_the_end_of_the_events_is_an_error_without_a_stop_reason(events: list[Any], last: bytes) -> None:
    assert encode(*events, eof=True)[-1] == last


def test_nothing_follows_the_end() -> None:
    encoder = ChunkEncoder(created=5)
    first = encoder.eof()

    assert first == [CUT]
    assert encoder.feed(START) == []
    assert encoder.eof() == []


def test_a_stream_without_a_start_still_ends_as_it_should() -> None:
    encoder = ChunkEncoder(created=5)
    encoder.feed(message_delta("end_turn", output_tokens=1))

    finish, done = encoder.feed(STOP)

    assert finish.startswith(HEAD.replace(b"msg_9", b"").replace(b"m1", b""))
    assert b'"total_tokens":1,' in finish
    assert done == b"data: [DONE]\n\n"


def test_a_start_without_usage_is_taken() -> None:
    bare: Any = {"type": "message_start", "message": {"id": "msg_9", "model": "m1"}}
    encoder = ChunkEncoder(created=5)

    assert len(encoder.feed(bare)) == 1


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        pytest.param([{"type": "text", "text": ""}], {"content": ""}, id="empty"),
        pytest.param([{"type": "thinking", "thinking": ""}], {"content": ""}, id="empty thinking"),
        pytest.param([{"type": "text"}, {"type": "thinking"}], {"content": ""}, id="bare blocks"),
        pytest.param([{"type": "redacted_thinking", "data": "x"}], {"content": ""}, id="redacted"),
        pytest.param(
            [{"type": "thinking", "thinking": "a"}, {"type": "thinking", "thinking": "b"}],
            {"content": "", "reasoning_content": "ab"},
            id="thinking",
        ),
        pytest.param(
            [{"type": "tool_use", "id": "t", "name": "n"}],
            {
                "content": None,
                "tool_calls": [{"id": "t", "type": "function", "function": {"name": "n", "arguments": "{}"}}],
            },
            id="a call alone",
        ),
    ],
)
def test_a_message_becomes_a_completion(blocks: list[Any], expected: Any) -> None:
    completion = completion_from_message(message(*blocks), created=5)

    assert completion["choices"] == [
        {"index": 0, "message": {"role": "assistant", **expected}, "finish_reason": "stop"}
    ]


def test_a_completion_equals_what_its_chunks_add_up_to() -> None:
    blocks = [
        {"type": "thinking", "thinking": "r", "signature": "S"},
        {"type": "text", "text": "a "},
        {"type": "text", "text": "b"},
        {"type": "tool_use", "id": "t1", "name": "n", "input": {"x": 1}},
    ]
    events: list[Any] = []
    for index, block in enumerate(blocks):
        events += [start(block, index), stop(index)]

    completion = completion_from_message(message(*blocks, stop_reason="tool_use"), created=5)
    pieces = deltas(encode(*events))

    sent = completion["choices"][0]["message"]
    assert "".join(piece.get("content", "") for piece in pieces) == sent["content"]
    assert "".join(piece.get("reasoning_content", "") for piece in pieces) == sent["reasoning_content"]
    tool_calls = [piece["tool_calls"][0]["function"] for piece in pieces if "tool_calls" in piece]
    assert "".join(call["arguments"] for call in tool_calls) == sent["tool_calls"][0]["function"]["arguments"]
