"""Properties of every stream: valid grammar, nothing lost, no cut stream complete, reads of every size."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from messages_api.backend.protocol import sse
from messages_api.backend.protocol.chunks import ChunkEncoder
from messages_api.backend.protocol.sse import Record, SSEParser
from messages_api.backend.protocol.types import Event
from messages_api.backend.protocol.usage import Usage
from messages_api.backend.protocol.wire import decode as decode_json
from tests.messages_api.backend.protocol.streams import DONE, USAGE, call, check_grammar, chunk, decoder, fragment

EXAMPLES = settings(max_examples=150, deadline=None, database=None)

TEXTS = st.text(alphabet="ab \n\u2028é🙂", min_size=1, max_size=4)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='a"\\{}é', max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(alphabet="k}", max_size=2), inner, max_size=2),
    max_leaves=4,
)
INPUTS = st.dictionaries(st.text(alphabet='k"{', max_size=2), JSON_VALUES, min_size=1, max_size=2)


def cut(draw: Any, whole: Any) -> list[Any]:
    """Split a text or bytes into pieces at random positions."""
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=4)))
    return [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]


@st.composite
def responses(draw: Any) -> tuple[list[Any], list[Any], dict[int, Any]]:
    """Return a stream with text, thinking and tool calls, their fragments in any order; and its content."""
    contents = draw(st.lists(st.tuples(st.sampled_from(["content", "reasoning"]), TEXTS), max_size=6))
    inputs = draw(st.lists(INPUTS, max_size=3))
    pieces = [cut(draw, json.dumps(value, ensure_ascii=draw(st.booleans()))) for value in inputs]
    chunks = [chunk({kind: piece}) for kind, piece in contents]
    order = draw(st.permutations([number for number, parts in enumerate(pieces) for _ in parts]))
    positions = sorted(draw(st.lists(st.integers(0, len(chunks)), min_size=len(order), max_size=len(order))))
    opened: set[int] = set()
    for offset, (position, number) in enumerate(zip(positions, order, strict=True)):
        name = "" if number in opened else f"tool{number}"
        opened.add(number)
        chunks.insert(
            position + offset, call(fragment(pieces[number].pop(0), index=number, id=name and f"id{number}", name=name))
        )
    return chunks, contents, dict(enumerate(inputs))


def decode(frames: list[Any], *, buffer_tool_calls: bool = False) -> list[Event]:
    stream = decoder(buffer_tool_calls=buffer_tool_calls)
    events = [event for frame in frames for event in (stream.done() if frame == DONE else stream.feed(frame))]
    return events + stream.eof()


def payloads(events: list[Event], field: str) -> str:
    return "".join(event["delta"].get(field, "") for event in events if event["type"] == "content_block_delta")


def inputs_of(events: list[Event]) -> dict[int, Any]:
    """Return the inputs of the tools by the number in their name."""
    numbers = {}
    arguments: dict[int, str] = {}
    for event in events:
        if event["type"] == "content_block_start" and event["content_block"]["type"] == "tool_use":
            numbers[event["index"]] = int(event["content_block"]["name"].removeprefix("tool"))
            arguments[numbers[event["index"]]] = ""
        elif event["type"] == "content_block_delta" and event["index"] in numbers:
            arguments[numbers[event["index"]]] += event["delta"]["partial_json"]
    return {number: decode_json(text) for number, text in arguments.items()}


@EXAMPLES
@given(responses(), st.booleans(), st.sampled_from([[], [DONE], [chunk(usage=USAGE)]]))
def test_no_text_thinking_or_argument_is_lost(response: Any, buffer_tool_calls: bool, end: list[Any]) -> None:
    chunks, contents, inputs = response

    events = decode([*chunks, chunk(finish="stop"), *end], buffer_tool_calls=buffer_tool_calls)

    check_grammar(events)
    assert events[-1]["type"] == "message_stop"
    assert payloads(events, "thinking") == "".join(piece for kind, piece in contents if kind == "reasoning")
    text = "".join(piece for kind, piece in contents if kind == "content")
    assert "".join(payloads(events, "text").split()) == "".join(text.split())
    assert inputs_of(events) == inputs


def order_sent(chunks: list[Any]) -> list[str]:
    """Return the names of the tools and the visible characters between them, in the order of the chunks."""
    order: list[str] = []
    for sent in chunks:
        delta = sent["choices"][0]["delta"]
        order += [each["function"]["name"] for each in delta.get("tool_calls", []) if "name" in each["function"]]
        order += "".join((delta.get("content", "") + delta.get("reasoning", "")).split())
    return order


def order_written(events: list[Event]) -> list[str]:
    order: list[str] = []
    for event in events:
        if event["type"] == "content_block_start" and event["content_block"]["type"] == "tool_use":
            order.append(event["content_block"]["name"])
        elif event["type"] == "content_block_delta":
            order += "".join((event["delta"].get("text", "") + event["delta"].get("thinking", "")).split())
    return order


@EXAMPLES
@given(responses(), st.booleans())
def test_text_keeps_its_place_between_tool_calls(response: Any, buffer_tool_calls: bool) -> None:
    chunks, _, _ = response

    events = decode([*chunks, chunk(finish="stop")], buffer_tool_calls=buffer_tool_calls)

    assert order_written(events) == order_sent(chunks)


@EXAMPLES
@given(responses(), st.booleans(), st.data())
def test_a_cut_stream_is_never_complete(response: Any, buffer_tool_calls: bool, data: Any) -> None:
    chunks, _, _ = response

    events = decode(chunks[: data.draw(st.integers(0, len(chunks)))], buffer_tool_calls=buffer_tool_calls)

    check_grammar(events)
    assert events[-1]["type"] == "error"


NAMES = st.sampled_from(["", "a", "b"])
ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-1, 2), st.sampled_from(["", " ", "x", "{}", '{"a":1}', "length"])
)
FRAGMENTS = st.fixed_dictionaries(
    {},
    optional={
        "index": st.none() | st.integers(0, 2) | ODD,
        "id": st.sampled_from(["c1", "c2"]) | ODD,
        "function": st.fixed_dictionaries({}, optional={"name": NAMES | ODD, "arguments": ODD | st.just({"b": 2})})
        | ODD,
    },
)
DELTAS = st.fixed_dictionaries(
    {},
    optional={
        "content": TEXTS | ODD,
        "reasoning": TEXTS | ODD,
        "refusal": ODD,
        "tool_calls": st.lists(FRAGMENTS | ODD, max_size=3) | ODD,
        "function_call": st.fixed_dictionaries({}, optional={"name": NAMES, "arguments": ODD}) | ODD,
    },
)
CHOICES = st.fixed_dictionaries(
    {}, optional={"index": ODD, "delta": DELTAS | ODD, "finish_reason": st.sampled_from(["stop", "error"]) | ODD}
)
COUNTS = st.one_of(ODD, st.integers(), st.floats(), st.just(10**30))
USAGES = st.fixed_dictionaries(
    {}, optional={"prompt_tokens": COUNTS, "completion_tokens": COUNTS, "prompt_tokens_details": ODD}
)
CHUNKS = st.fixed_dictionaries(
    {},
    optional={"choices": st.lists(CHOICES | ODD, max_size=2) | ODD, "usage": USAGES | ODD, "error": ODD, "object": ODD},
)


@settings(EXAMPLES, max_examples=400)
@given(st.lists(CHUNKS | st.just(DONE) | ODD, max_size=8), st.booleans())
def test_any_nonsense_keeps_the_grammar(frames: list[Any], buffer_tool_calls: bool) -> None:
    frames = [frame for frame in frames if frame == DONE or not isinstance(frame, str)]

    events = decode(frames, buffer_tool_calls=buffer_tool_calls)

    check_grammar(events)
    finish = [choice.get("finish_reason") for frame in frames if isinstance(frame, dict) for choice in choices(frame)]
    if events[-1]["type"] == "message_stop":
        assert DONE in frames or any(finish)
        assert min(events[-2]["usage"]["input_tokens"], events[-2]["usage"]["output_tokens"]) >= 0


def choices(frame: Any) -> list[Any]:
    listed = frame.get("choices")
    return [choice for choice in listed if isinstance(choice, dict)] if isinstance(listed, list) else []


@EXAMPLES
@given(responses(), st.data())
def test_reads_of_any_size_give_the_same_events(response: Any, data: Any) -> None:
    chunks, _, _ = response
    line_end = data.draw(st.sampled_from([b"\n", b"\r", b"\r\n"]))
    frames = [*chunks, chunk(finish="stop")]
    stream = b"".join(sse.frame(frame) for frame in frames).replace(b"\n", line_end) + sse.done()

    stream_decoder, parser = decoder(), SSEParser()
    records = [record for piece in cut(data.draw, stream) for record in parser.feed(piece)] + parser.eof()
    events = [event for record in records for event in stream_decoder.read(record)]

    assert events == decode([*frames, DONE])


RAW_LINES = st.lists(
    st.sampled_from(
        [b"data:", b"data: x", b"data", b"event: e", b": c", b"id: 1", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\xff", b""]
    ),
    max_size=10,
)


@EXAMPLES
@given(RAW_LINES, st.data())
def test_reads_of_any_size_give_the_same_records(lines: list[bytes], data: Any) -> None:
    ends = data.draw(st.lists(st.sampled_from([b"\n", b"\r", b"\r\n"]), min_size=len(lines), max_size=len(lines)))
    stream = b"".join(line + end for line, end in zip(lines, ends, strict=True))

    assert parse(cut(data.draw, stream)) == parse([stream])


def parse(pieces: list[bytes]) -> list[Record]:
    parser = SSEParser()
    return [record for piece in pieces for record in parser.feed(piece)] + parser.eof()


@EXAMPLES
@given(responses())
def test_chunks_have_the_content_of_the_events(response: Any) -> None:
    chunks, _, inputs = response
    events = decode([*chunks, chunk(finish="stop"), DONE])
    encoder = ChunkEncoder(created=5)

    lines = [line for event in events for line in encoder.feed(event)]

    assert lines[-1] == sse.done()
    deltas = [json.loads(line.removeprefix(b"data: "))["choices"][0]["delta"] for line in lines[:-1]]
    assert "".join(delta.get("content", "") for delta in deltas) == payloads(events, "text")
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == payloads(events, "thinking")
    arguments: dict[int, str] = {}
    names: dict[int, int] = {}
    for piece in (piece for delta in deltas for piece in delta.get("tool_calls", [])):
        number = piece["index"]
        if "name" in piece["function"]:
            names[number] = int(piece["function"]["name"].removeprefix("tool"))
        arguments[number] = arguments.get(number, "") + piece["function"]["arguments"]
    assert list(arguments) == list(range(len(inputs)))
    assert {names[number]: json.loads(text) for number, text in arguments.items()} == inputs


COUNT = st.none() | st.integers(0, 10**6)
USAGE_OBJECTS = st.builds(
    Usage, input=COUNT, output=COUNT, cache_read=COUNT, cache_write=COUNT, thinking=st.none() | st.integers(1, 9)
)


@EXAMPLES
@given(USAGE_OBJECTS)
def test_counts_survive_a_round_trip(usage: Usage) -> None:
    assert Usage.from_openai(usage.openai()).anthropic() == usage.anthropic()
    assert Usage.from_anthropic(usage.anthropic()).openai() == usage.openai()


@EXAMPLES
@given(
    st.recursive(
        COUNTS,
        lambda inner: st.dictionaries(
            st.sampled_from(
                [
                    "prompt_tokens",
                    "cached_tokens",
                    "prompt_tokens_details",
                    "cache_write_tokens",
                    "input_tokens",
                    "cache_creation",
                    "cache_creation_input_tokens",
                    "ephemeral_1h_input_tokens",
                    "output_tokens",
                    "output_tokens_details",
                    "thinking_tokens",
                ]
            ),
            inner,
            max_size=4,
        ),
    )
)
def test_hostile_counts_never_become_negative(counts: Any) -> None:
    for usage in (Usage.from_openai(counts), Usage.from_anthropic(counts)):
        known = [usage.input, usage.output, usage.cache_read, usage.cache_write, usage.cache_write_1h, usage.thinking]
        assert all(count is None or 0 <= count <= 10**9 for count in known)
        assert (usage.cache_write_1h or 0) <= (usage.cache_write or usage.cache_write_1h or 0)
