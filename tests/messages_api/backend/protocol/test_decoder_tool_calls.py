"""Tool calls in streams of an OpenAI upstream: assignment of fragments and order of events."""

from typing import Any

import pytest

from messages_api.backend.protocol.tool_extras import split_id
from tests.messages_api.backend.protocol.streams import (
    DONE,
    REQUEST,
    call,
    check_grammar,
    chunk,
    decode,
    decoder,
    fragment,
    text,
    tool_ids_of,
    written,
)

END = chunk(finish="tool_calls")


def blocks(*frames: Any, **options: Any) -> list[Any]:
    """Return the blocks of a stream that ends properly."""
    events = decode(*frames, END, **options)
    check_grammar(events)
    return written(events)[:-1]


@pytest.mark.parametrize(
    ("frames", "written_blocks"),
    [
        pytest.param(
            [call(fragment('{"a":', id="c1", name="a")), call(fragment("1}"))], [["a", '{"a":', "1}"]], id="by index"
        ),
        pytest.param(
            [
                call(fragment('{"a":', index=0, id="c1", name="a")),
                call(fragment('{"b":', index=1, id="c2", name="b")),
                call(fragment("1}", index=0)),
                call(fragment("2", index=1)),
                call(fragment("}", index=1)),
            ],
            [["a", '{"a":', "1}"], ["b", '{"b":', "2", "}"]],
            id="interleaved",
        ),
        pytest.param(
            [call(fragment('{"a":1}', index=0, name="a"), fragment('{"b":2}', index=1, name="b"))],
            [["a", '{"a":1}'], ["b", '{"b":2}']],
            id="several in one chunk",
        ),
        pytest.param(
            [
                call(fragment('{"a":1}', id="c1", name="a")),
                call(fragment('{"b":', id="c2", name="b")),
                call(fragment("2}")),
            ],
            [["a", '{"a":1}'], ["b", '{"b":', "2}"]],
            id="always index 0, other names",
        ),
        pytest.param(
            [call(fragment('{"a":', id="c1", name="a")), call(fragment('{"b":2}', id="c2", name="b"))],
            [["a", '{"a":'], ["b", '{"b":2}']],
            id="always index 0, the first is cut",
        ),
        pytest.param(
            [call(fragment('{"a":1}', id="c1", name="a")), call(fragment('{"a":2}', id="c2", name="a"))],
            [["a", '{"a":1}'], ["a", '{"a":2}']],
            id="always index 0, the same name twice",
        ),
        pytest.param(
            [call(fragment('{"a":', id="r1", name="a")), call(fragment("1}", id="r2", name="a"))],
            [["a", '{"a":', "1}"]],
            id="a new id in each chunk",
        ),
        pytest.param(
            [call(fragment('{"a":', id="c1", name="a")), call(fragment("1}", id="c1", name="b"))],
            [["a", '{"a":', "1}"]],
            id="a new name for the same id",
        ),
        pytest.param(
            [call(fragment('{"a":1}', id="c1", name="a")), call(fragment(" ", id="c2"))],
            [["a", '{"a":1}', " "]],
            id="a new id without a name",
        ),
        pytest.param(
            [call(fragment("", id="c1")), call(fragment("{", id="c2", name="a")), call(fragment("}"))],
            [["a", "{", "}"]],
            id="a name that comes later, with another id",
        ),
        pytest.param(
            [
                call(fragment('{"a":', index=None, id="c1", name="a")),
                call(fragment('{"b":', index=None, id="c2", name="b")),
                call(fragment("1}", index=None, id="c1")),
                call(fragment("2}", index=None, id="c2", name="c")),
            ],
            [["a", '{"a":', "1}"], ["b", '{"b":', "2}"]],
            id="by id",
        ),
        pytest.param(
            [call(fragment('{"a":', id="c1", name="a")), call(fragment("1}", index=None, id="c1"))],
            [["a", '{"a":', "1}"]],
            id="by the id of a call with an index",
        ),
        pytest.param(
            [
                call(fragment('{"a":', index=None, name="a"), fragment('{"b":', index=None, name="b")),
                call(fragment("1}", index=None), fragment("2}", index=None)),
            ],
            [["a", '{"a":', "1}"], ["b", '{"b":', "2}"]],
            id="by position",
        ),
        pytest.param(
            [
                call(fragment('{"a":', index=None, name="a")),
                call(fragment("1", index=None, name="a")),
                call(fragment("}", index=None)),
                call(fragment('{"a":2}', index=None, name="a")),
                call(fragment('{"b":', index=None, name="b")),
                call(fragment("3}", index=None)),
            ],
            [["a", '{"a":', "1", "}"], ["a", '{"a":2}'], ["b", '{"b":', "3}"]],
            id="names at a known position",
        ),
        pytest.param(
            [
                call(fragment('{"a":1}', index=None, id="c1", name="a")),
                call(fragment('{"b":', index=None, id="c2", name="b")),
                call(fragment("2}", index=None)),
            ],
            [["a", '{"a":1}'], ["b", '{"b":', "2}"]],
            id="the last call",
        ),
        pytest.param(
            [
                call(
                    fragment('{"a":1}', index=None, id="c1", name="a"),
                    fragment('{"b":', index=None, id="c2", name="b"),
                ),
                call(fragment("2}", index=None)),
            ],
            [["a", '{"a":1}'], ["b", '{"b":', "2}"]],
            id="the last call, not the one at its position",
        ),
        pytest.param(
            [
                call(fragment('{"a":1}', index=None, id="c1", name="a")),
                call(fragment('{"b":', index=None, name="b")),
                call(fragment("2}", index=None)),
            ],
            [["a", '{"a":1}'], ["b", '{"b":', "2}"]],
            id="a name opens a call by position",
        ),
        pytest.param(
            [call(fragment("{", index=None)), call(fragment("}", index=None, name="a"))],
            [["a", "{}"]],
            id="a name that comes later, by position",
        ),
        pytest.param(
            [chunk({"function_call": {"name": "a", "arguments": "{"}}), chunk({"function_call": {"arguments": "}"}})],
            [["a", "{", "}"]],
            id="the old function_call",
        ),
        pytest.param(
            [call({"index": "0", "id": "c1", "function": {"name": "a", "arguments": "{}"}})],
            [["a", "{}"]],
            id="an index in a text",
        ),
        pytest.param(
            [call({"index": [0], "function": {"name": "a", "arguments": "{}"}})],
            [["a", "{}"]],
            id="an index that is none",
        ),
        pytest.param(
            [call(fragment("{", index=True, id="c1", name="a")), call(fragment("}", index=1, id="c2", name="b"))],
            [["a", "{"], ["b", "}"]],
            id="a truth value is no index",
        ),
    ],
)
def test_fragments_find_their_tool_call(frames: list[Any], written_blocks: list[Any]) -> None:
    assert blocks(*frames) == written_blocks


def test_the_first_id_and_name_win() -> None:
    events = decode(
        call(fragment(name="a")),
        call(fragment("{", id="c1", name="a")),
        call(fragment("{", index=1, id="c2")),
        call(fragment("}", index=1, name="b")),
        call(fragment("", index=1, id="c3")),
        call(fragment("", index=1, name="bb")),
        END,
    )

    assert written(events) == [["a", "{"], ["b", "{}"], "tool_use"]
    assert tool_ids_of(events) == ["c1", "c2"]


@pytest.mark.parametrize(
    ("arguments", "pieces"),
    [
        pytest.param(["{}"], ["{}"], id="empty"),
        pytest.param(["{}", ""], ["{}"], id="empty, and nothing more"),
        pytest.param(["{}", " "], ["{}"], id="empty, and blank"),
        pytest.param(["{}", '{"a":', "1}"], ['{"a":', "1}"], id="a placeholder"),
        pytest.param(["{}", "\n", '{"a":1}'], ['{"a":1}'], id="a placeholder and a line end"),
        pytest.param(["{}", "{}", '{"a":1}'], ['{"a":1}'], id="two placeholders"),
        pytest.param([{}, {"a": "é"}], ['{"a":"é"}'], id="objects"),
        pytest.param(["{", "}"], ["{", "}"], id="two halves"),
        pytest.param(['{"a":1}', "{}"], ['{"a":1}', "{}"], id="a placeholder comes first"),
        pytest.param([None, "", None], [], id="none"),
        pytest.param([[1]], ["[1]"], id="a list"),
    ],
)
def test_arguments_go_out_as_they_come(arguments: list[Any], pieces: list[str]) -> None:
    frames = [call(fragment(piece, id="c1", name="a")) for piece in arguments]

    assert blocks(*frames) == [["a", *pieces]]


def test_a_tool_call_starts_once_its_name_is_known() -> None:
    stream = decoder()

    nameless = stream.feed(call(fragment('{"a', id="c1"))) + stream.feed(call(fragment('":')))
    named = stream.feed(call(fragment("1", name="a")))

    assert [event["type"] for event in nameless] == ["message_start"]
    assert written(named) == [["a", '{"a":1']]


def test_a_waiting_tool_call_becomes_active_when_the_first_is_complete() -> None:
    stream = decoder()
    stream.feed(call(fragment('{"a":"}', index=0, name="a")))

    held = stream.feed(call(fragment('{"b":', index=1, name="b"), fragment('{"c":3}', index=2, name="c")))
    closed = stream.feed(call(fragment('"}', index=0)))
    cascade = stream.feed(call(fragment("2}", index=1)))

    assert held == []
    assert [event["type"] for event in closed] == [
        "content_block_delta",
        "content_block_stop",
        "content_block_start",
        "content_block_delta",
    ]
    assert written(cascade[2:]) == [["c", '{"c":3}']]


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(['{"a":"\\', '"}', '"}'], id="an escape cut in two"),
        pytest.param(['{"a":"\\\\', '"', "}"], id="an escaped backslash"),
        pytest.param(['{"a":{"b":"{"}', "}", " "], id="nested"),
        pytest.param([' {"a":[]}'], id="space before"),
    ],
)
def test_a_complete_tool_call_is_known_by_its_braces(arguments: list[str]) -> None:
    stream = decoder()
    for piece in arguments:
        stream.feed(call(fragment(piece, index=0, name="a")))

    after = stream.feed(call(fragment("{}", index=1, name="b")))

    assert [event["type"] for event in after][:2] == ["content_block_stop", "content_block_start"]


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(['{"a":1'], id="open"),
        pytest.param(['{"a" 1}'], id="no JSON"),
        pytest.param(["[{}]"], id="a list"),
        pytest.param(['{"a":1}', "x"], id="something behind"),
        pytest.param(['{"a":1}', "x", " "], id="something behind and a space"),
        pytest.param(['{"a":1}x'], id="something behind in one piece"),
        pytest.param(["}{}"], id="a brace too many"),
        pytest.param(['{"a":"\\', '"}'], id="an escaped quote"),
        pytest.param([""], id="nothing"),
    ],
)
def test_an_incomplete_tool_call_delays_the_next_one(arguments: list[str]) -> None:
    stream = decoder(request={**REQUEST, "tools": [{"name": "a"}, {"name": "b"}]})
    for piece in arguments:
        stream.feed(call(fragment(piece, index=0, name="a")))

    held = stream.feed(call(fragment("{}", index=1, name="b")))
    rest = stream.feed(END) + stream.done()

    assert held == []
    assert [block[0] for block in written(rest)[:-1]] == ["b"]


def test_a_tool_call_that_ended_takes_no_more_arguments() -> None:
    frames = [
        call(fragment('{"a":1}', index=0, name="a")),
        call(fragment("{", index=1, name="b")),
        call(fragment('{"a":2}', index=0)),
        call(fragment("}", index=1)),
    ]

    assert blocks(*frames) == [["a", '{"a":1}'], ["b", "{", "}"]]


def test_tool_calls_without_a_name_are_dropped() -> None:
    events = decode(
        call(fragment('{"a":1}', index=0, id="c1")),
        call(fragment("{}", index=1, name="b")),
        call(fragment("", index=2)),
        END,
    )

    assert written(events) == [["b", "{}"], "tool_use"]


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        pytest.param([text(" "), text("late")], [["a", '{"x":', "1}"], ["text", "late"]], id="text"),
        pytest.param([text("a"), text(" "), text("b")], [["a", '{"x":', "1}"], ["text", "a", " ", "b"]], id="texts"),
        pytest.param(
            [chunk({"reasoning": " "}), text("b"), chunk({"reasoning": "c"})],
            [["a", '{"x":', "1}"], ["thinking", " "], ["text", "b"], ["thinking", "c"]],
            id="thinking",
        ),
        pytest.param([text(" ")], [["a", '{"x":', "1}"]], id="blank"),
    ],
)
@pytest.mark.parametrize("buffer_tool_calls", [False, True])
def test_text_inside_a_tool_call_is_deferred(frames: list[Any], expected: list[Any], buffer_tool_calls: bool) -> None:
    written_blocks = blocks(
        call(fragment('{"x":', name="a")), *frames, call(fragment("1}")), buffer_tool_calls=buffer_tool_calls
    )

    if buffer_tool_calls:
        expected = [["a", '{"x":1}'], *expected[1:]]
    assert written_blocks == expected


@pytest.mark.parametrize("buffer_tool_calls", [False, True])
def test_text_after_a_complete_tool_call_ends_it(buffer_tool_calls: bool) -> None:
    stream = decoder(buffer_tool_calls=buffer_tool_calls)
    stream.feed(call(fragment('{"x":1}', name="a")))

    blank = stream.feed(text("\n"))
    events = stream.feed(text("b"))
    more = stream.feed(call(fragment("{}", index=1, name="c"))) + stream.feed(END) + stream.done()

    assert blank == []
    assert events[-1]["delta"] == {"type": "text_delta", "text": "b"}
    assert written(more) == [["c", "{}"], "tool_use"]


def test_text_keeps_its_order_around_a_tool_call() -> None:
    frames = [call(fragment("{", name="a")), text("one"), call(fragment("}")), text(" "), text("two")]

    assert blocks(text("zero"), *frames) == [["text", "zero"], ["a", "{", "}"], ["text", "one", " ", "two"]]


@pytest.mark.parametrize(
    ("arguments", "input_"),
    [
        pytest.param([], "", id="none"),
        pytest.param(["{"], "{", id="incomplete"),
        pytest.param(['{"a":', '{"a":1}'], '{"a":1}', id="restated, or nested and incomplete"),
    ],
)
@pytest.mark.parametrize("buffer_tool_calls", [False, True])
def test_text_between_tool_calls_stays_there_if_the_first_one_ends_late(
    arguments: list[str], input_: str, buffer_tool_calls: bool
) -> None:
    first = [call(fragment(None, name="a")), *(call(fragment(piece)) for piece in arguments)]
    between = [text("one"), call(fragment("{}", index=1, name="b")), chunk({"reasoning": "two"}), text("three")]
    last = [call(fragment("{}", index=2, name="c")), text("four"), chunk(finish="tool_calls")]

    events = decode(*first, *between, *last, buffer_tool_calls=buffer_tool_calls)

    kinds = ["a", "text", "b", "thinking", "text", "c", "text"]
    assert [block[0] for block in written(events)[:-1]] == kinds
    texts = [block[1:] for block in written(events)[1:-1] if block[0] in ("text", "thinking")]
    assert texts == [["one"], ["two"], ["three"], ["four"]]
    if not buffer_tool_calls:
        assert "".join(written(events)[0][1:]) == input_


def test_text_between_tool_calls_is_sent_when_the_next_one_is() -> None:
    stream = decoder()
    stream.feed(call(fragment("{", name="a")))
    stream.feed(text("one"))
    stream.feed(call(fragment("{}", index=1, name="b")))

    rest, *events = stream.feed(call(fragment("}")))

    assert rest["delta"] == {"type": "input_json_delta", "partial_json": "}"}
    assert written(events) == [["text", "one"], ["b"]]


def test_text_continues_beside_a_tool_call_without_a_name() -> None:
    assert blocks(text("a"), call(fragment("{}", id="c1")), text("b")) == [["text", "a", "b"]]


def test_whitespace_before_a_tool_call_is_dropped() -> None:
    assert blocks(text("\n"), call(fragment("{}", name="a")), text("b")) == [["a", "{}"], ["text", "b"]]


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        pytest.param(['{"a":', " 1}"], ["a", '{"a":1}'], id="compact"),
        pytest.param(["{}", '{"a":1}'], ["a", '{"a":1}'], id="a placeholder"),
        pytest.param(['{}{"a":1}'], ["a", '{"a":1}'], id="a placeholder in one piece"),
        pytest.param([""], ["a", "{}"], id="nothing"),
        pytest.param(["[1]"], ["a", '{"_unparsed_arguments":"[1]"}'], id="no object"),
        pytest.param(["{}"], ["a", "{}"], id="empty"),
    ],
)
def test_buffered_tool_calls_have_one_repaired_delta(frames: list[str], expected: list[Any]) -> None:
    assert blocks(*(call(fragment(piece, name="a")) for piece in frames), buffer_tool_calls=True) == [expected]


def test_buffered_tool_calls_are_sent_when_complete() -> None:
    stream = decoder(buffer_tool_calls=True)

    first = stream.feed(call(fragment('{"a": 1}', index=0, name="a")))
    second = stream.feed(call(fragment('{"b":', index=1, name="b")))

    assert [event["type"] for event in first] == ["message_start"]
    assert written(second) == [["a", '{"a":1}']]


def test_a_buffered_tool_call_that_is_cut_by_the_length_is_unchanged() -> None:
    events = decode(call(fragment('{"a": ', name="a")), chunk(finish="length"), buffer_tool_calls=True)

    assert written(events) == [["a", '{"a": '], "max_tokens"]


@pytest.mark.parametrize(
    ("arguments", "ending"),
    [
        pytest.param('{"a":', ["api_error"], id="open"),
        pytest.param("", ["api_error"], id="without arguments"),
        pytest.param('{"a":1}', ["tool_use"], id="complete"),
        pytest.param("{}", ["{}", "tool_use"], id="empty"),
    ],
)
def test_the_end_mark_inside_a_tool_call_is_an_error(arguments: str, ending: list[str]) -> None:
    events = decode(call(fragment(arguments, name="a")), DONE)

    check_grammar(events)
    assert written(events)[-1] == ending[-1]


def test_the_error_inside_a_tool_call_has_its_own_message() -> None:
    events = decode(call(fragment("{", name="a")), DONE)

    assert events[-1]["error"]["message"] == "The upstream stream ended inside a tool call."


def test_the_end_mark_after_tool_calls_that_ended_or_have_no_name_is_an_end() -> None:
    frames = [call(fragment("{}", index=0, name="a"), fragment("{}", index=1, name="b"), fragment("{", index=2))]

    assert written(decode(*frames, DONE)) == [["a", "{}"], ["b", "{}"], "tool_use"]


def test_used_ids_are_replaced() -> None:
    used = {"role": "assistant", "content": [{"type": "tool_use", "id": "call_0", "name": "a", "input": {}}]}
    request = {**REQUEST, "messages": [used]}

    events = decode(
        call(fragment("{}", index=0, id="call_0", name="a")),
        call(fragment("{}", index=1, id="call_1", name="b")),
        call(fragment("{}", index=2, id="call_1", name="c")),
        call(fragment("{}", index=3, name="d")),
        END,
        request=request,
    )

    assert tool_ids_of(events) == ["toolu_0_1", "call_1", "toolu_0_2", "toolu_0_3"]


def test_a_long_tool_call_followed_by_another_is_parsed_once() -> None:
    pieces = [call(fragment('"},{"k":"', index=0))] * 20_000
    stream = decoder()
    stream.feed(call(fragment('{"a":[{"k":"', index=0, name="a"), fragment("{}", index=1, name="b")))

    for piece in pieces:
        stream.feed(piece)

    assert written(stream.feed(call(fragment('"}]}', index=0)))[2:]) == [["b"]]


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(["get_", "weather"], id="in pieces"),
        pytest.param(["get_", "get_weather"], id="longer each time"),
        pytest.param(["get_weather", "get_weather"], id="repeated"),
        pytest.param(["g", "et_", "weather"], id="in three pieces"),
    ],
)
@pytest.mark.parametrize(
    ("index", "tools"),
    [
        pytest.param(0, [], id="by index"),
        pytest.param(0, ["get_", "get_weather"], id="by index, with tools"),
        pytest.param(None, ["get_", "get_weather"], id="by the tools of the request"),
    ],
)
def test_a_name_in_pieces_is_joined(names: list[str], index: int | None, tools: list[str]) -> None:
    request = {**REQUEST, "tools": [{"name": name} for name in tools]}
    pieces = [call(fragment("", index=index, name=name)) for name in names]

    found = blocks(*pieces, call(fragment('{"a":1}', index=index)), request=request)

    assert found == [["get_weather", '{"a":1}']]


def test_a_tool_of_the_request_starts_before_its_arguments() -> None:
    stream = decoder(request={**REQUEST, "tools": [{"name": "get_weather"}]})

    events = stream.feed(call(fragment("", id="c1", name="get_weather")))

    assert [event["type"] for event in events] == ["message_start", "content_block_start"]


@pytest.mark.parametrize(
    ("pieces", "arguments"),
    [
        pytest.param(['{"a"', '{"a":"R', '{"a":"Rom"}'], '{"a":"Rom"}', id="longer each time"),
        pytest.param(['{"a":', '{"a":[', '{"a":[1]}'], '{"a":[1]}', id="longer after a colon"),
        pytest.param(['{"a":"Ro', '{"a":"Rom"}'], '{"a":"Rom"}', id="all at the end"),
        pytest.param(['{"a":', '{"a":1}'], '{"a":1}', id="all at the end, after a colon"),
        pytest.param(['{"a":1}', '{"a":1}'], '{"a":1}', id="repeated"),
        pytest.param(['{"a":1}', '{"a": 1}'], '{"a":1}', id="repeated in another spelling"),
        pytest.param(['{"a":', "1}", '{"a":1}\n'], '{"a":1}', id="pieces and all of them"),
        pytest.param(['{"a":', '{"a":1}}'], '{"a":{"a":1}}', id="a nested object with the same start"),
        pytest.param(['{"a":', '{"a":', "1}}"], '{"a":{"a":1}}', id="a nested object in pieces"),
        pytest.param(['{"a":[1,', '{"a":[1,', "2]}]}"], '{"a":[1,{"a":[1,2]}]}', id="a nested object in a list"),
        pytest.param(['{"', '{":1}'], '{"{":1}', id="a brace in a key"),
        pytest.param(['"{\\"a\\":', '1}"'], '{"a":1}', id="an object in a string"),
        pytest.param(['"text"'], '"text"', id="a text in a string"),
        pytest.param(['{"a":"\ud83d', '\ude42"}', '{"a":"🙂"}'], '{"a":"🙂"}', id="half a character, and all of them"),
        pytest.param(['{"a":"\ud83d', '{"a":"🙂"', '{"a":"🙂"}'], '{"a":"🙂"}', id="all so far, cut in a character"),
        pytest.param(['{"a":"\ud83d', 'b"}'], '{"a":"\ufffdb"}', id="half a character without the other"),
    ],
)
@pytest.mark.parametrize("is_buffered", [False, True])
def test_arguments_are_written_once(pieces: list[str], arguments: str, is_buffered: bool) -> None:
    frames = [call(fragment(piece, id="c1", name="t")) for piece in pieces]

    [[_, *found]] = blocks(*frames, buffer_tool_calls=is_buffered)

    if is_buffered and not arguments.startswith("{"):
        arguments = '{"_unparsed_arguments":"\\"text\\""}'
    assert "".join(found) == arguments


def test_half_a_character_at_the_end_of_arguments_is_replaced() -> None:
    [[_, *found], _] = written(decode(call(fragment('{"a":"\ud83d', id="c1", name="t")), chunk(finish="length")))

    assert "".join(found) == '{"a":"\ufffd'


def test_fields_of_the_provider_are_carried_in_the_id() -> None:
    signed = fragment("{}", id="c1", name="t") | {"extra_content": {"google": {"thought_signature": "c2ln+/="}}}
    other = fragment("{}", index=1, id="c2", name="t") | {"extra_content": {"google": {"other": 1}}}

    first, second = tool_ids_of(decode(call(signed, other), END))

    assert first == "c1__thought__c2ln+/="
    assert split_id(first) == ("c1", {"extra_content": {"google": {"thought_signature": "c2ln+/="}}})
    assert split_id(second) == ("c2", {"extra_content": {"google": {"other": 1}}})


@pytest.mark.parametrize("tool_id", ["c1", "", "c1__extra__", "c1__extra__!", "c1__extra__W10"])
def test_an_id_without_fields_is_unchanged(tool_id: str) -> None:
    assert split_id(tool_id) == (tool_id, {})
