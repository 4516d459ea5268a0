"""Responses and streams of an Anthropic upstream."""

from typing import Any

import pytest

from messages_api.backend.protocol.error_mapping import MappedError, UpstreamResponseError
from messages_api.backend.protocol.relay import AnthropicDecoder, message_from_anthropic
from messages_api.backend.protocol.sse import Record
from messages_api.backend.protocol.usage import ReportedUsage, Usage
from messages_api.backend.protocol.wire import encode_text
from tests.messages_api.backend.protocol.streams import REQUEST, check_grammar, counting_ids, written

MESSAGE = {
    "id": "msg_up",
    "type": "message",
    "role": "assistant",
    "model": "up",
    "content": [],
    "usage": {"input_tokens": 3},
}
START = {"type": "message_start", "message": MESSAGE}
BLOCK = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
DELTA = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hel"}}
END_OF_BLOCK = {"type": "content_block_stop", "index": 0}
MESSAGE_DELTA = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}}
STOP = {"type": "message_stop"}
PING = {"type": "ping"}
FUTURE = {"type": "future", "x": [1]}

STREAM: list[Any] = [START, BLOCK, DELTA, END_OF_BLOCK, MESSAGE_DELTA, STOP]
RENAMED = {"type": "message_start", "message": {**MESSAGE, "model": "m1"}}
PASSED: list[Any] = [RENAMED, *STREAM[1:]]


def decoder() -> AnthropicDecoder:
    return AnthropicDecoder(REQUEST)


def test_a_decoder_that_has_seen_nothing_knows_nothing() -> None:
    stream = decoder()

    assert (stream.usage, stream.characters, stream.message_id, stream.stop_reason) == (Usage(), 0, None, None)


def decode(*events: object) -> list[Any]:
    stream = decoder()
    return [passed for event in events for passed in stream.feed(event)] + stream.eof()


def without(event: Any) -> list[Any]:
    return [other for other in STREAM if other is not event]


def test_a_stream_is_passed_on_with_the_requested_model_name() -> None:
    assert decode(*STREAM) == PASSED


def test_pings_and_unknown_events_pass_anywhere() -> None:
    events = [PING, FUTURE]
    for event in STREAM[:-1]:
        events += [event, PING, FUTURE]

    passed = decode(*events, STOP)

    assert [event for event in passed if event not in (PING, FUTURE)] == PASSED
    assert passed.count(PING) == passed.count(FUTURE) == len(STREAM)


@pytest.mark.parametrize("position", range(len(STREAM)))
def test_an_event_that_comes_twice_is_dropped_but_for_content(position: int) -> None:
    repeated = STREAM[position]

    passed = decode(*STREAM[: position + 1], repeated, *STREAM[position + 1 :])

    expected = [*PASSED]
    if repeated in (DELTA, MESSAGE_DELTA):
        expected.insert(position, repeated)
    assert passed == expected


@pytest.mark.parametrize(
    "stray",
    [
        pytest.param({**DELTA, "index": 1}, id="a delta"),
        pytest.param({**END_OF_BLOCK, "index": 1}, id="a stop"),
        pytest.param({"type": "content_block_delta"}, id="a delta without an index"),
        pytest.param({"type": "content_block_stop", "index": None}, id="a stop without an index"),
    ],
)
@pytest.mark.parametrize("position", range(len(STREAM) + 1))
def test_an_event_without_an_open_block_is_dropped(stray: Any, position: int) -> None:
    assert decode(*STREAM[:position], stray, *STREAM[position:]) == PASSED


@pytest.mark.parametrize("early", [BLOCK, DELTA, END_OF_BLOCK, MESSAGE_DELTA])
def test_events_before_the_start_are_dropped(early: Any) -> None:
    assert decode(early, *STREAM) == PASSED


OUT_OF_ORDER = "The upstream sent an event out of order."
STREAM_CUT = "The upstream stream ended before the response was complete."
INVALID_EVENT = "The upstream sent an invalid event."


@pytest.mark.parametrize(
    ("events", "message"),
    [
        pytest.param([START, {**BLOCK, "index": 1}], OUT_OF_ORDER, id="a gap"),
        pytest.param([START, {**BLOCK, "index": "0"}], OUT_OF_ORDER, id="an index that is none"),
        pytest.param([START, MESSAGE_DELTA, BLOCK], OUT_OF_ORDER, id="a block behind the end"),
        pytest.param([STOP], STREAM_CUT, id="an end before the start"),
        pytest.param([START, STOP], STREAM_CUT, id="an end without a stop reason"),
        pytest.param(STREAM[:-2], STREAM_CUT, id="no end"),
        pytest.param([], STREAM_CUT, id="nothing"),
        pytest.param([7], "The upstream sent a frame that is not an object.", id="a number"),
        pytest.param([{}], INVALID_EVENT, id="no type"),
        pytest.param([{"type": ["x"]}], INVALID_EVENT, id="a type that is none"),
        pytest.param([{"type": "message_start"}], INVALID_EVENT, id="no message"),
        pytest.param([{"type": "message_start", "message": {"model": "a"}}], INVALID_EVENT, id="no id"),
        pytest.param([START, {"type": "content_block_start", "index": 0}], INVALID_EVENT, id="no block"),
        pytest.param([START, {**BLOCK, "content_block": {"type": "text", "text": 7}}], INVALID_EVENT, id="a number"),
        pytest.param([START, {**BLOCK, "content_block": {"type": 1}}], INVALID_EVENT, id="a block without a type"),
        pytest.param([START, {**BLOCK, "content_block": {"type": "tool_use", "id": "a"}}], INVALID_EVENT, id="no name"),
        pytest.param([START, {**BLOCK, "content_block": {"type": "tool_use", "name": "a"}}], INVALID_EVENT, id="no id"),
        pytest.param([START, BLOCK, {**DELTA, "delta": None}], INVALID_EVENT, id="no delta"),
        pytest.param([START, BLOCK, {**DELTA, "delta": {"type": []}}], INVALID_EVENT, id="a delta without a type"),
        pytest.param(
            [START, BLOCK, {**DELTA, "delta": {"type": "text_delta"}}], INVALID_EVENT, id="a delta without text"
        ),
        pytest.param([START, {"type": "message_delta"}], INVALID_EVENT, id="a message_delta without a delta"),
    ],
)
def test_a_gap_ends_the_stream_with_an_error(events: list[Any], message: str) -> None:
    stream = decoder()

    passed = [event for item in events for event in stream.feed(item)] + stream.eof()

    assert passed[-1] == {"type": "error", "error": {"type": "api_error", "message": message}}
    assert stream.error == MappedError(502, "api_error", message)
    assert not stream.is_whole


@pytest.mark.parametrize(
    ("error", "mapped"),
    [
        ({"type": "overloaded_error", "message": "busy"}, MappedError(529, "overloaded_error", "busy")),
        (
            {"type": "authentication_error", "message": "key sk-1"},
            MappedError(502, "api_error", "The upstream rejected the gateway's credential.", retry=False),
        ),
    ],
)
def test_an_error_event_is_the_end(error: Any, mapped: MappedError) -> None:
    stream = decoder()

    events = stream.feed({"type": "error", "error": error, "request_id": "req_up"})

    assert events == [{"type": "error", "error": {"type": mapped.type, "message": mapped.message}}]
    assert stream.error == mapped
    assert stream.feed(START) == stream.eof() == []
    assert stream.read(Record(None, "{}")) == []


def test_usage_and_stop_reason_are_recorded() -> None:
    stream = decoder()
    seen = []
    for event in STREAM:
        stream.feed(event)
        seen.append((stream.is_complete and not stream.is_ended, stream.is_whole))

    assert seen == [(False, False)] * 4 + [(True, False), (False, True)]
    assert (stream.message_id, stream.stop_reason, stream.characters) == ("msg_up", "end_turn", 3)
    assert stream.usage == Usage(input=3, output=5)


@pytest.mark.parametrize("usage", [{}, {"usage": None}, {"usage": "many"}])
def test_a_stream_without_usage_is_given_estimates(usage: Any) -> None:
    start = {"type": "message_start", "message": {key: MESSAGE[key] for key in MESSAGE if key != "usage"} | usage}
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, **usage}
    stream = AnthropicDecoder(REQUEST, input_estimate=11)

    passed: list[Any] = [event for sent in (start, BLOCK, DELTA, END_OF_BLOCK, end) for event in stream.feed(sent)]

    assert passed[0]["message"]["usage"] == {"input_tokens": 11, "output_tokens": 0}
    assert passed[-1]["usage"] == {"output_tokens": 1}  # one token for three characters
    assert stream.has_changed
    assert stream.usage == Usage()


def test_the_last_output_count_replaces_a_missing_one() -> None:
    stream = decoder()
    silent: Any = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"input_tokens": 4}}

    passed: list[Any] = [event for sent in (START, MESSAGE_DELTA, silent) for event in stream.feed(sent)]

    assert passed[-1]["usage"] == {"input_tokens": 4, "output_tokens": 5}


def test_a_response_is_complete_with_its_stop_reason_without_an_end_mark() -> None:
    stream = decoder()
    seen = []
    for event in (*STREAM[:-1], {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}):
        stream.feed(event)
        seen.append(stream.is_complete)

    assert seen == [False] * 4 + [True, True]
    assert not stream.is_whole


def test_a_later_message_delta_completes_the_first() -> None:
    stream = decoder()
    later = {"type": "message_delta", "delta": {"stop_reason": None}, "usage": {"input_tokens": 0, "output_tokens": 9}}

    for event in (START, MESSAGE_DELTA, later, {"type": "message_delta", "delta": {}}):
        stream.feed(event)

    assert stream.stop_reason == "end_turn"
    assert stream.usage == Usage(input=3, output=9)


def test_text_thinking_and_arguments_are_counted() -> None:
    stream = decoder()
    deltas = [
        {"type": "text_delta", "text": "a"},
        {"type": "thinking_delta", "thinking": "bb"},
        {"type": "input_json_delta", "partial_json": "ccc"},
        {"type": "signature_delta", "signature": "dddd"},
    ]

    for event in (START, BLOCK, *({**DELTA, "delta": delta} for delta in deltas)):
        stream.feed(event)

    assert stream.characters == 6
    assert stream.error is None


@pytest.mark.parametrize(
    ("data", "types"),
    [
        pytest.param(encode_text(DELTA), ["content_block_delta"], id="an event"),
        pytest.param("", [], id="empty"),
        pytest.param(" ", [], id="blank"),
        pytest.param("{", ["error"], id="no JSON"),
        pytest.param("[DONE]", ["error"], id="another dialect"),
    ],
)
def test_records_are_read(data: str, types: list[str]) -> None:
    stream = decoder()
    stream.feed(START)
    stream.feed(BLOCK)

    assert [event["type"] for event in stream.read(Record("content_block_delta", data))] == types


def test_a_record_that_is_no_json_is_an_error() -> None:
    stream = decoder()

    stream.read(Record(None, "{"))

    assert stream.error == MappedError(502, "api_error", "The upstream sent a frame that is not JSON.")


@pytest.mark.parametrize(("model", "has_changed"), [("up", True), ("m1", False)])
def test_only_another_name_of_the_model_changes_a_record(model: str, has_changed: bool) -> None:
    stream = decoder()
    seen = [stream.has_changed]

    for event in ({**START, "message": {**MESSAGE, "model": model}}, PING, STOP, STOP):
        stream.read(Record(str(event["type"]), encode_text(event)))
        seen.append(stream.has_changed)

    assert seen == [False, has_changed, False, False, False]


def test_nothing_is_read_after_the_end() -> None:
    stream = decoder()
    for event in STREAM:
        stream.feed(event)

    assert stream.read(Record(None, "{")) == stream.eof() == []
    assert stream.error is None


BLOCKS = [{"type": "text", "text": "a"}, {"type": "tool_use", "id": "t", "name": "n", "input": {}}, {"type": "future"}]


def test_a_message_keeps_its_fields_with_the_requested_model_name() -> None:
    response = {**MESSAGE, "content": BLOCKS, "future": 1}

    assert message_from_anthropic(response, request=REQUEST) == {**response, "model": "m1"}


@pytest.mark.parametrize("usage", [None, 7, [], "many"])
def test_a_message_without_usage_is_complete(usage: Any) -> None:
    response = {**MESSAGE, "usage": usage}

    whole = message_from_anthropic(response, request=REQUEST)

    assert whole == {**response, "model": "m1", "usage": Usage().anthropic()}


NO_MESSAGE = MappedError(502, "api_error", "The upstream returned no message.")


@pytest.mark.parametrize(
    ("response", "mapped"),
    [
        pytest.param(7, NO_MESSAGE, id="a number"),
        pytest.param({**MESSAGE, "id": None}, NO_MESSAGE, id="no id"),
        pytest.param({**MESSAGE, "content": {}}, NO_MESSAGE, id="content that is no list"),
        pytest.param({**MESSAGE, "content": ["a"]}, NO_MESSAGE, id="a block that is none"),
        pytest.param({**MESSAGE, "content": [{"type": "text", "text": 7}]}, NO_MESSAGE, id="a text that is none"),
        pytest.param(
            {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}},
            MappedError(529, "overloaded_error", "busy"),
            id="an error inside a 200",
        ),
    ],
)
def test_an_invalid_message_is_an_error(response: Any, mapped: MappedError) -> None:
    with pytest.raises(UpstreamResponseError) as raised:
        message_from_anthropic(response, request=REQUEST)

    assert raised.value.mapped == mapped


def test_a_stream_cut_by_max_tokens_inside_a_tool_call_is_whole() -> None:
    """Anthropic leaves the block open before `message_delta`; the missing stop is added."""
    tool_use = {"type": "tool_use", "id": "toolu_0_2", "name": "search", "input": {}}
    cut = {**MESSAGE_DELTA, "delta": {"stop_reason": "max_tokens", "stop_sequence": None}}
    decoder = AnthropicDecoder(REQUEST)

    passed = [
        each
        for event in (START, {**BLOCK, "content_block": tool_use}, cut, {"type": "message_stop"})
        for each in decoder.feed(event)
    ]

    assert [event["type"] for event in passed] == [
        "message_start",
        "content_block_start",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert (decoder.is_whole, decoder.stop_reason, decoder.error) == (True, "max_tokens", None)


def tool_start(index: int, **fields: Any) -> Any:
    block = {"type": "tool_use", "id": f"t{index}", "name": "n", "input": {}, **fields}
    return {"type": "content_block_start", "index": index, "content_block": block}


def text_start(index: int) -> Any:
    return {**BLOCK, "index": index}


def delta(index: int, piece: str, kind: str = "text_delta") -> Any:
    field = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}[kind]
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, field: piece}}


def arguments(index: int, piece: str) -> Any:
    return delta(index, piece, "input_json_delta")


def end(index: int) -> Any:
    return {"type": "content_block_stop", "index": index}


def blocks_of(passed: list[Any]) -> list[list[str]]:
    """Return the blocks of a stream as `[kind, piece, piece, …]`, in a valid order."""
    check_grammar(passed)
    return written(passed)[:-1]


@pytest.mark.parametrize(
    ("sent", "blocks"),
    [
        pytest.param([text_start(0), delta(0, "a")], [["text", "a"]], id="no stop"),
        pytest.param(
            [text_start(0), delta(0, "a"), tool_start(1), arguments(1, "{}"), end(0), end(1)],
            [["text", "a"], ["n", "{}"]],
            id="a block before the stop of the one before",
        ),
        pytest.param(
            [text_start(0), delta(0, "a"), text_start(1), delta(1, "b"), delta(0, "c"), end(0), delta(1, "d"), end(1)],
            [["text", "a"], ["text", "b", "c", "d"]],
            id="interleaved texts",
        ),
        pytest.param(
            [tool_start(0), tool_start(1), arguments(0, '{"a"'), arguments(1, '{"b":2}'), arguments(0, ":1}"), end(1)],
            [["n", '{"a"', ":1}"], ["n", '{"b":2}']],
            id="interleaved tool calls",
        ),
        pytest.param(
            [tool_start(0), text_start(1), delta(1, "a"), arguments(0, "{"), end(1), arguments(0, "}"), end(0)],
            [["n", "{", "}"], ["text", "a"]],
            id="text inside a tool call",
        ),
        pytest.param(
            [tool_start(0, input={"a": 1}), text_start(1), delta(1, "a"), end(0), end(1)],
            [["n"], ["text", "a"]],
            id="text behind a tool call with its input",
        ),
        pytest.param(
            [tool_start(0), arguments(0, "{}"), delta(0, "a"), end(0), text_start(1), delta(1, "b"), end(1)],
            [["n", "{}"], ["text", "a"], ["text", "b"]],
            id="text of a tool call",
        ),
        pytest.param(
            [tool_start(0), arguments(0, "{"), delta(0, "a"), arguments(0, "}"), end(0)],
            [["n", "{", "}"], ["text", "a"]],
            id="text of an incomplete tool call",
        ),
        pytest.param(
            [text_start(0), delta(0, "a"), delta(0, "b", "thinking_delta"), delta(0, "c"), end(0)],
            [["text", "a"], ["thinking", "b"], ["text", "c"]],
            id="thinking of a text",
        ),
        pytest.param(
            [tool_start(0), arguments(0, "{"), tool_start(1), arguments(1, "{}"), tool_start(2), end(2)],
            [["n", "{"], ["n", "{}"], ["n"]],
            id="tool calls that never end",
        ),
    ],
)
def test_blocks_are_put_in_order(sent: list[Any], blocks: list[Any]) -> None:
    assert blocks_of(decode(START, *sent, MESSAGE_DELTA, STOP)) == blocks


@pytest.mark.parametrize(
    ("name", "data"),
    [
        pytest.param(None, encode_text(DELTA), id="no name"),
        pytest.param("message", encode_text(DELTA), id="another name"),
        pytest.param("content_block_delta", encode_text({"index": 0, "delta": DELTA["delta"]}), id="no type"),
    ],
)
def test_an_event_without_its_name_is_written_again(name: str | None, data: str) -> None:
    stream = decoder()
    stream.feed(START)
    stream.feed(BLOCK)

    assert stream.read(Record(name, data)) == [DELTA]
    assert stream.has_changed


@pytest.mark.parametrize("data", ["{}", "[]", "null", '{"type":"ping","time":1}'])
def test_any_ping_is_a_ping(data: str) -> None:
    stream = decoder()

    assert stream.read(Record("ping", data)) == [PING]
    assert stream.has_changed or data.startswith('{"type"')


@pytest.mark.parametrize("last", [Record(None, "[DONE]"), None])
def test_a_stream_with_a_stop_reason_is_whole_without_its_end(last: Record | None) -> None:
    stream = decoder()
    passed = [event for sent in STREAM[:-1] for event in stream.feed(sent)]

    passed += stream.read(last) if last else stream.eof()

    assert passed == PASSED
    assert stream.is_whole
    assert stream.error is None


def test_a_missing_stop_reason_of_a_later_message_delta_is_added() -> None:
    later = {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 9}}

    passed = decode(*STREAM[:-1], later, STOP)

    assert passed[-2]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}


@pytest.mark.parametrize(
    ("message", "healed"),
    [
        ({**MESSAGE, "content": None}, MESSAGE),
        ({name: value for name, value in MESSAGE.items() if name != "id"}, {**MESSAGE, "id": "msg_0"}),
        ({name: value for name, value in MESSAGE.items() if name not in ("model", "role", "type")}, MESSAGE),
    ],
)
def test_a_start_without_fields_that_sdks_read_is_repaired(message: Any, healed: Any) -> None:
    stream = AnthropicDecoder(REQUEST, ids=counting_ids())

    assert stream.feed({**START, "message": message}) == [{**START, "message": {**healed, "model": "m1"}}]
    assert stream.has_changed


@pytest.mark.parametrize(
    ("block", "healed"),
    [
        ({"type": "text"}, {"type": "text", "text": ""}),
        ({"type": "text", "text": None}, {"type": "text", "text": ""}),
        ({"type": "thinking", "thinking": None}, {"type": "thinking", "thinking": "", "signature": ""}),
        (
            {"type": "tool_use", "id": "t", "name": "n", "input": None},
            {"type": "tool_use", "id": "t", "name": "n", "input": {}},
        ),
        (
            {"type": "tool_use", "name": "n", "input": {}},
            {"type": "tool_use", "id": "toolu_0_1", "name": "n", "input": {}},
        ),
    ],
)
def test_a_block_without_fields_that_sdks_read_is_repaired(block: Any, healed: Any) -> None:
    stream = AnthropicDecoder(REQUEST, ids=counting_ids())
    stream.feed(START)

    assert stream.feed({**BLOCK, "content_block": block}) == [{**BLOCK, "content_block": healed}]
    assert message_from_anthropic({**MESSAGE, "content": [block]}, request=REQUEST, ids=counting_ids())["content"] == [
        healed
    ]


def test_halves_of_a_character_are_joined() -> None:
    passed = decode(START, BLOCK, delta(0, "a \ud83d"), delta(0, "\ude00"), delta(0, "\ud83d"), MESSAGE_DELTA, STOP)

    assert "".join(blocks_of(passed)[0][1:]) == "a \U0001f600\ufffd"


def test_an_input_that_stays_0_is_estimated() -> None:
    stream = AnthropicDecoder(REQUEST, input_estimate=11)
    stream.feed({**START, "message": {**MESSAGE, "usage": {"input_tokens": 0, "output_tokens": 1}}})

    [passed] = stream.feed(MESSAGE_DELTA)

    assert passed["usage"] == {"input_tokens": 11, "output_tokens": 5}
    assert ReportedUsage.of(stream.usage, is_final=True) == ReportedUsage(usage=Usage(output=5), is_final=False)


def test_a_message_without_content_is_empty() -> None:
    response = {**MESSAGE, "content": None, "stop_reason": "end_turn"}

    assert message_from_anthropic(response, request=REQUEST)["content"] == []
