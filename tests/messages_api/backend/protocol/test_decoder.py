"""Streams of an OpenAI upstream: text, thinking, usage and endings. Tool calls: test_decoder_tool_calls."""

from typing import Any

import pytest

from messages_api.backend.protocol.error_mapping import MappedError
from messages_api.backend.protocol.sse import Record
from tests.messages_api.backend.protocol.streams import (
    DONE,
    REQUEST,
    USAGE,
    call,
    check_grammar,
    chunk,
    decode,
    decoder,
    fragment,
    last_usage,
    text,
    written,
)

END = chunk(finish="stop")


@pytest.mark.parametrize(
    ("deltas", "blocks"),
    [
        pytest.param([{"content": "a"}, {"content": "b"}], [["text", "a", "b"]], id="text"),
        pytest.param([{"content": " "}, {"content": "\n"}, {"content": "a "}], [["text", " \na "]], id="leading space"),
        pytest.param(
            [{"content": "a"}, {"content": "\n"}, {"content": "b"}], [["text", "a", "\n", "b"]], id="space inside"
        ),
        pytest.param([{"content": " "}], [], id="space alone"),
        pytest.param(
            [{"reasoning": "a"}, {"content": "b"}, {"reasoning_content": "c"}],
            [["thinking", "a"], ["text", "b"], ["thinking", "c"]],
            id="reasoning, text, reasoning",
        ),
        pytest.param(
            [{"content": " "}, {"reasoning": "a"}, {"content": " "}, {"reasoning": "b"}, {"content": "c"}],
            [["thinking", "a", "b"], ["text", "  c"]],
            id="space between reasoning",
        ),
        pytest.param(
            [{"content": "a"}, {"reasoning": "b"}, {"content": " "}, {"content": "c"}],
            [["text", "a"], ["thinking", "b"], ["text", " c"]],
            id="space before a second text",
        ),
        pytest.param([{"reasoning": " "}], [["thinking", " "]], id="blank reasoning"),
        pytest.param(
            [{"refusal": "c", "content": "b", "reasoning": "a"}],
            [["thinking", "a"], ["text", "b", "c"]],
            id="all in one",
        ),
        pytest.param(
            [{"content": [{"type": "thinking", "thinking": [{"text": "a"}]}, {"type": "text", "text": "b"}]}],
            [["thinking", "a"], ["text", "b"]],
            id="parts",
        ),
        pytest.param([None, {}, {"content": None, "tool_calls": []}, {"content": ""}], [], id="nothing"),
    ],
)
def test_pieces_become_blocks(deltas: list[Any], blocks: list[Any]) -> None:
    events = decode(*(chunk(delta) for delta in deltas), END)

    check_grammar(events)
    assert [block for block in written(events) if isinstance(block, list)] == blocks


@pytest.mark.parametrize(("refusal", "stop_reason"), [("No", "refusal"), (" ", "end_turn"), ("", "end_turn")])
def test_refusal_text_makes_a_refusal(refusal: str, stop_reason: str) -> None:
    assert written(decode(text("a"), chunk({"refusal": refusal}), chunk({"refusal": " "}), END))[-1] == stop_reason


def test_several_choices_are_merged() -> None:
    second = {"index": 1, "delta": {"content": "b"}}
    tool = {"index": 1, "delta": {"tool_calls": [{"index": 0, "function": {"name": "t", "arguments": "{}"}}]}}

    events = decode({"choices": [{"delta": {"content": "a"}}, second]}, {"choices": [tool]}, text("c"), END)

    check_grammar(events)
    assert written(events) == [["text", "a"], ["t", "{}"], ["text", "c", "b"], "tool_use"]


@pytest.mark.parametrize("finish", ["null", "NULL", "None", "", " ", None])
def test_a_finish_reason_without_a_meaning_ends_nothing(finish: object) -> None:
    stream = decoder()

    events = stream.feed(chunk({"content": "a"}, finish=finish))

    assert not stream.is_complete
    assert written(events + stream.feed(text("b")) + stream.eof()) == [["text", "a", "b"], "api_error"]


def test_content_after_a_finish_reason_is_content() -> None:
    events = decode(
        {"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}, {"delta": {"content": "b"}}]},
        text("c"),
        {"choices": None, "usage": {"prompt_tokens": 5, "completion_tokens": 6}},
        {"choices": None},
        DONE,
    )

    check_grammar(events)
    assert written(events) == [["text", "a", "b", "c"], "end_turn"]
    assert last_usage(events)["output_tokens"] == 6


def test_an_early_finish_reason_does_not_make_a_cut_stream_complete() -> None:
    early = chunk({"reasoning_content": "a"}, finish="stop")

    assert written(decode(early, text("b"))) == [["thinking", "a"], ["text", "b"], "api_error"]
    assert written(decode(early, text("b"), chunk({}, finish="length"))) == [
        ["thinking", "a"],
        ["text", "b"],
        "max_tokens",
    ]


def test_blank_text_after_the_finish_reason_changes_nothing() -> None:
    assert written(decode(text("a"), END, text("\n"))) == [["text", "a", "\n"], "end_turn"]


def test_a_choice_without_a_delta_is_ignored() -> None:
    assert written(decode({"choices": [{"delta": None}, {}]}, text("a"), END)) == [["text", "a"], "end_turn"]


@pytest.mark.parametrize("choices", [[], None])
def test_a_chunk_without_choices_brings_usage_and_ends_nothing(choices: Any) -> None:
    events = decode({"choices": choices, "usage": USAGE}, {"choices": choices}, {"usage": USAGE}, {}, text("a"), END)

    assert written(events) == [["text", "a"], "end_turn"]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        pytest.param(7, "The upstream sent a frame that is not an object.", id="a number"),
        pytest.param([], "The upstream sent a frame that is not an object.", id="a list"),
        pytest.param(
            {"choices": "x", "usage": USAGE}, "The upstream returned no choices.", id="choices that are no list"
        ),
        pytest.param({"choices": [None]}, "The upstream returned no choices.", id="a choice that is none"),
        pytest.param(chunk("x"), "The upstream sent a frame that is not an object.", id="a delta that is no object"),
        pytest.param({"error": {}}, "The upstream returned an error.", id="an empty error"),
        pytest.param({"object": "error", "message": "m"}, "m", id="an error object"),
        pytest.param(chunk({}, finish="abort"), "The upstream ended with finish_reason 'abort'.", id="abort"),
        pytest.param(
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "error"}, {"index": 0, "delta": {"content": "b"}}]},
            "The upstream ended with finish_reason 'error'.",
            id="error",
        ),
        pytest.param(
            chunk({}, finish="insufficient_system_resource"), "The upstream ran out of capacity.", id="no capacity"
        ),
    ],
)
def test_a_frame_that_cannot_be_read_ends_the_stream(frame: object, message: str) -> None:
    events = decode(text("a"), frame, text("b"), END, DONE)

    check_grammar(events)
    assert written(events)[0] == ["text", "a"]
    assert [event["error"]["message"] for event in events if event["type"] == "error"] == [message]


def test_content_beside_a_failed_finish_is_not_lost() -> None:
    assert written(decode(chunk({"content": "a"}, finish="error"))) == [["text", "a"], "api_error"]


@pytest.mark.parametrize("error", [None, "", False])
def test_an_empty_error_field_is_noise(error: object) -> None:
    assert written(decode(chunk({"content": "a"}, error=error), END)) == [["text", "a"], "end_turn"]


def test_an_error_before_anything_else_can_still_be_a_status() -> None:
    stream = decoder()

    events = stream.feed({"error": {"message": "busy", "code": "server_overloaded"}})

    assert [event["type"] for event in events] == ["error"]
    assert stream.error == MappedError(529, "overloaded_error", "busy")
    assert stream.is_ended
    assert stream.start() == []


@pytest.mark.parametrize(
    ("frames", "blocks"),
    [
        pytest.param([text("a"), END], [["text", "a"], "end_turn"], id="finish, then EOF"),
        pytest.param([text("a"), END, DONE], [["text", "a"], "end_turn"], id="finish, then the end mark"),
        pytest.param([text("a"), DONE], [["text", "a"], "end_turn"], id="the end mark alone"),
        pytest.param([DONE], ["end_turn"], id="nothing but the end mark"),
        pytest.param([text("a"), chunk(finish="")], [["text", "a"], "api_error"], id="an empty finish reason"),
        pytest.param([text("a"), chunk(finish=["error"])], [["text", "a"], "end_turn"], id="a finish of another kind"),
        pytest.param([text("a")], [["text", "a"], "api_error"], id="EOF"),
        pytest.param([], ["api_error"], id="nothing"),
        pytest.param([END, DONE, DONE], ["end_turn"], id="the end mark twice"),
        pytest.param([{"error": "x"}, DONE], ["api_error"], id="the end mark behind an error"),
    ],
)
def test_only_a_finish_reason_or_the_end_mark_completes_a_response(frames: list[Any], blocks: list[Any]) -> None:
    events = decode(*frames)

    check_grammar(events)
    assert written(events) == blocks


def test_a_cut_stream_stops_nothing() -> None:
    assert [event["type"] for event in decode(text("a"))] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "error",
    ]


def test_the_states_of_a_stream_can_be_seen() -> None:
    stream = decoder()
    seen = []
    for step in (lambda: stream.feed(text("a")), lambda: stream.feed(END), stream.done):
        step()
        seen.append((stream.is_complete and not stream.is_ended, stream.is_whole, stream.is_ended))

    assert seen == [(False, False, False), (True, False, False), (False, True, True)]
    assert stream.error is None
    assert stream.characters == 1


@pytest.mark.parametrize("is_cut", [True, False])
def test_nothing_follows_the_end(is_cut: bool) -> None:
    stream = decoder()
    stream.feed(text("a"))
    end = stream.eof() if is_cut else stream.done()

    late = [stream.start(), stream.feed(text("b")), stream.feed(7), stream.done(), stream.eof()]
    late += [stream.read(Record(None, "x"))]

    assert end[-1]["type"] == ("error" if is_cut else "message_stop")
    assert late == [[]] * 6
    assert stream.is_whole is not is_cut
    assert (stream.error is None) is not is_cut


def test_chunks_always_change() -> None:
    assert decoder().has_changed


def test_a_message_start_can_be_sent_before_the_first_chunk() -> None:
    stream = decoder(input_estimate=99)

    first, second = stream.start(), stream.start()
    rest = stream.feed(chunk({"content": "a"}, finish="stop", usage=USAGE)) + stream.done()

    assert first[0]["message"]["usage"] == {
        "input_tokens": 99,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": 0,
    }
    assert second == []
    check_grammar(first + rest)


@pytest.mark.parametrize(
    ("usages", "counts"),
    [
        pytest.param([], (50, 3), id="none"),
        pytest.param([{"prompt_tokens": 8, "completion_tokens": 9}], (8, 9), id="one"),
        pytest.param(
            [{"prompt_tokens": 8, "completion_tokens": 9}, {"prompt_tokens": 5, "completion_tokens": 0}],
            (5, 0),
            id="the last of two",
        ),
        pytest.param(
            [{"prompt_tokens": 8, "completion_tokens": 9}, {"prompt_tokens": "x"}], (8, 9), id="an empty last"
        ),
        pytest.param([{"prompt_tokens": 8}], (8, 3), id="no output"),
        pytest.param([{"completion_tokens": 9}], (50, 9), id="no input"),
        pytest.param(["x", 7, None], (50, 3), id="no objects"),
    ],
)
def test_the_last_counts_are_used_and_estimates_complete_them(usages: list[Any], counts: tuple[int, int]) -> None:
    stream = [chunk({"content": "aaaa", "reasoning": "bbb"}), call(fragment("{}", name="x")), END]

    events = decode(*stream, *({"choices": [], "usage": usage} for usage in usages), DONE, input_estimate=50)

    usage = last_usage(events)
    assert (usage["input_tokens"], usage["output_tokens"]) == counts


def test_without_an_estimate_nothing_is_known_at_the_start() -> None:
    assert set(decode(text("a"))[0]["message"]["usage"].values()) == {0}


def test_a_stop_sequence_that_was_not_requested_is_not_reported() -> None:
    events = decode(text("a"), {"choices": [{"delta": {}, "finish_reason": "stop", "matched_stop": "END"}]})

    assert events[-2]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}


def test_thinking_tokens_are_reported_at_the_end_only() -> None:
    usage = {**USAGE, "completion_tokens_details": {"reasoning_tokens": 2}}

    events = decode(chunk({"content": "a"}, finish="stop", usage=usage))

    assert events[0]["message"]["usage"] == {
        "input_tokens": 1,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": 0,
    }
    assert last_usage(events)["output_tokens_details"] == {"thinking_tokens": 2}


def test_a_stop_sequence_is_named() -> None:
    request = {**REQUEST, "stop_sequences": ["END"]}
    final = {"choices": [{"delta": {}, "finish_reason": "stop", "matched_stop": "END"}]}

    events = decode(text("a"), final, request=request)

    assert events[-2]["delta"] == {"stop_reason": "stop_sequence", "stop_sequence": "END"}


@pytest.mark.parametrize(
    ("record", "types"),
    [
        pytest.param(Record(None, '{"choices":[{"delta":{"content":"b"}}]}'), ["content_block_delta"], id="a chunk"),
        pytest.param(Record(None, ""), [], id="empty"),
        pytest.param(Record(None, " \n"), [], id="blank"),
        pytest.param(
            Record(None, " [DONE] "), ["content_block_stop", "message_delta", "message_stop"], id="the end mark"
        ),
        pytest.param(Record("error", '{"message":"m","code":529}'), ["error"], id="an error"),
        pytest.param(Record("error", "7"), ["error"], id="an error without words"),
        pytest.param(
            Record(None, '{"choices":[{"delta":{"content":"\\ud83d"}}]}'),
            [],
            id="half a character",
        ),
    ],
)
def test_records_are_read(record: Record, types: list[str]) -> None:
    stream = decoder()
    stream.feed(text("a"))

    assert [event["type"] for event in stream.read(record)] == types


def test_an_error_by_the_name_of_its_record_is_read_like_one_in_a_body() -> None:
    stream = decoder()

    stream.read(Record("error", '{"message":"m","code":529}'))

    assert stream.error == MappedError(529, "overloaded_error", "m")


def test_a_record_that_is_no_json_is_an_error() -> None:
    stream = decoder()

    events = stream.read(Record(None, "{"))

    assert events == [
        {"type": "error", "error": {"type": "api_error", "message": "The upstream sent a frame that is not JSON."}}
    ]
    assert stream.error is not None and stream.error.status == 502


def test_halves_of_a_character_are_joined() -> None:
    halves = [text("a \ud83d"), text("\ude00 b \ud83d"), chunk({"reasoning": "\ude00"}), text("\ud83d"), text("\ude00")]

    events = decode(*halves, END)

    check_grammar(events)
    assert written(events) == [
        ["text", "a ", "\U0001f600 b ", "\ufffd"],
        ["thinking", "\ufffd"],
        ["text", "\U0001f600"],
        "end_turn",
    ]


@pytest.mark.parametrize(
    "reasoning",
    [
        {"reasoning_details": [{"type": "reasoning.text", "text": "Th", "index": 0}, {"text": "ink."}]},
        {"reasoning_details": [{"type": "reasoning.summary", "summary": "Think."}, {"data": "c2VjcmV0"}]},
        {"reasoning_details": [{"text": "Think."}], "reasoning": "Think.", "reasoning_content": "Think."},
        {"reasoning": {"content": "Think."}},
        {"thinking_blocks": [{"type": "thinking", "thinking": "Think.", "signature": "s"}]},
        {"reasoning_content": {}, "thinking": "Think."},
    ],
)
def test_reasoning_is_read_once_from_any_field(reasoning: Any) -> None:
    assert written(decode(chunk(reasoning), END)) == [["thinking", "Think."], "end_turn"]
