"""Complete responses where a stream was requested, and streams where none was."""

from typing import Any

import pytest

from messages_api.backend.protocol import whole
from messages_api.backend.protocol.relay import AnthropicDecoder
from messages_api.backend.protocol.usage import Usage
from tests.messages_api.backend.protocol.streams import REQUEST, check_grammar, counting_ids, decoder, written

MESSAGE: Any = {
    "id": "msg_up",
    "type": "message",
    "role": "assistant",
    "model": "m1",
    "content": [
        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
        {"type": "text", "text": "Hello", "citations": [{"type": "char_location"}]},
        {"type": "tool_use", "id": "t", "name": "n", "input": {"a": 1}},
        {"type": "tool_use", "id": "u", "name": "n", "input": {}},
        {"type": "future", "x": 1},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {"input_tokens": 3, "output_tokens": 5},
}


def test_a_message_survives_as_events() -> None:
    stream = whole.events_of(MESSAGE)

    check_grammar(stream)
    assert whole.message_of(stream) == MESSAGE


def test_a_message_instead_of_a_stream_is_read() -> None:
    stream = AnthropicDecoder(REQUEST, ids=counting_ids())

    events = stream.read_body(MESSAGE)

    check_grammar(events)
    assert whole.message_of(events) == MESSAGE
    assert (stream.is_whole, stream.usage, stream.stop_reason) == (True, Usage(input=3, output=5), "tool_use")


def completion(message: Any, *, finish: str = "stop", **fields: Any) -> Any:
    return {"choices": [{"index": 0, "message": message, "finish_reason": finish}], **fields}


def test_a_completion_instead_of_a_stream_is_read() -> None:
    stream = decoder()
    call = {"id": "c1", "function": {"name": "n", "arguments": '{"a":1}'}}

    events = stream.read_body(
        completion({"content": "Hello", "tool_calls": [call]}, usage={"prompt_tokens": 10, "completion_tokens": 5})
    )

    check_grammar(events)
    assert written(events) == [["text", "Hello"], ["n", '{"a":1}'], "tool_use"]
    assert (stream.is_whole, stream.usage) == (True, Usage(input=10, output=5, cache_read=0, cache_write=0))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "slow", "code": 429}}, "slow"),
        ({"choices": []}, "The upstream returned no choices."),
        ({"success": False, "msg": "no such model"}, "no such model"),
        ([], "The upstream returned no choices."),
    ],
)
def test_a_body_without_a_completion_is_an_error(body: Any, message: str) -> None:
    stream = decoder()

    [event] = stream.read_body(body)

    assert event["error"]["message"] == message
    assert stream.error is not None


def test_chunks_with_growing_messages_are_read() -> None:
    stream = decoder()

    pieces = ("Hel", "Hello", "Hello, world")
    frames = [{"choices": [{"index": 0, "message": {"content": piece}}]} for piece in pieces]
    events = [event for frame in frames for event in stream.feed(frame)] + stream.done()

    assert written(events) == [["text", "Hel", "lo", ", world"], "end_turn"]


@pytest.mark.parametrize(
    ("raw", "is_stream", "is_json"),
    [
        (b'data: {"a":1}', True, False),
        (b"\xef\xbb\xbfevent: x", True, False),
        (b"\n: comment", True, False),
        (b' {"a":1}', False, True),
        (b"[1]", False, True),
        (b"<html>", False, False),
        (b"", False, False),
    ],
)
def test_the_kind_of_a_body_is_recognized(raw: bytes, is_stream: bool, is_json: bool) -> None:
    assert (whole.is_stream(raw), whole.is_json(raw)) == (is_stream, is_json)


@pytest.mark.parametrize(
    ("raw", "is_generated"),
    [
        (b'{"id":"c","choices":[{"index":0,"message":{"content":"Hel', True),
        (b'{"choices":[],"usage":{"prompt_tokens":1}}', True),
        (b'{"type":"message","content":[{"type":"text","text":"a"}],"usage":1', True),
        (b'data: {"choices":[{"delta":{"content":"a"}}]}', True),
        (b'event: content_block_delta\ndata: {"type":"content_block_delta"', True),
        (b'{"choices": [ ], "usage": null}', False),
        (b'{"error":{"message":"busy"}}', False),
        (b"<html>content</html>", False),
        (b"null", False),
        (b"[]", False),
        (b"", False),
    ],
)
def test_a_generated_body_is_recognized(raw: bytes, is_generated: bool) -> None:
    assert whole.is_generated(raw) == is_generated


@pytest.mark.parametrize(
    ("raw", "data"),
    [
        (b'data: {"error":"a"}\n\ndata: [DONE]\n\n', b'{"error":"a"}'),
        (b'event: error\ndata: {"error":"a"}', b'{"error":"a"}'),
        (b": comment", b": comment"),
    ],
)
def test_the_first_event_of_an_error_is_its_body(raw: bytes, data: bytes) -> None:
    assert whole.first_data(raw) == data
