"""No parser, translator or estimator of foreign input costs more than linear time.

Each function runs on generated worst shapes of size n and 4n, in CPU time. Linear work takes 4 times as long, quadratic
work 16 times. Runs that are too short to be measured pass.
"""

import gc
import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from messages_api.backend.event_source import FrameBuffer
from messages_api.backend.protocol import response_content, wire
from messages_api.backend.protocol.chunks import ChunkEncoder, completion_from_message
from messages_api.backend.protocol.completion import message_from_openai
from messages_api.backend.protocol.decoder import OpenAIDecoder
from messages_api.backend.protocol.error_mapping import UpstreamResponseError, map_anthropic_error, map_openai_error
from messages_api.backend.protocol.history_cleanup import clean_history
from messages_api.backend.protocol.ids import Ids, tool_ids
from messages_api.backend.protocol.openai_request import empty_response, to_openai
from messages_api.backend.protocol.profile import Profile
from messages_api.backend.protocol.relay import AnthropicDecoder, message_from_anthropic
from messages_api.backend.protocol.sse import SSEParser
from messages_api.backend.protocol.token_estimate import estimate
from messages_api.backend.protocol.unsupported import UnsupportedRequest
from messages_api.errors import RequestError
from messages_api.intake import body
from messages_api.intake.named_models import named_models
from messages_api.models.presets import PRESETS

SIZE = 2_000
LONG_ENOUGH_S = 0.03
"""Of the larger run. Quadratic work of 8,000 steps takes longer."""
MAX_FACTOR = 10.0
"""4 is linear. What the allocator and caches cost more at the larger size stays below; quadratic work is at 16."""
EXPECTED = (UnsupportedRequest, RequestError, UpstreamResponseError, ValueError)
"""Errors with which a function may reject a shape: that has to be fast as well."""

PROFILES = {name: Profile.from_mapping(PRESETS[name][1]) for name in ("portable", "openai", "deepseek")}


def asks(**fields: Any) -> Any:
    return {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}], **fields}


def said(*content: Any, role: str = "user") -> Any:
    return asks(messages=[{"role": role, "content": list(content)}])


def nested(n: int, *, leaf: Any = "x") -> Any:
    """Return n levels in stacks of 50, as the depth limit allows."""
    stacks = []
    for _ in range(max(1, n // 50)):
        value = leaf
        for _ in range(50):
            value = {"properties": {"a": value}, "type": "object"}
        stacks.append(value)
    return stacks


def closed_schema(n: int) -> dict[str, Any]:
    names = [f"p{i}" for i in range(n)]
    properties = {name: {"type": "string"} for name in names}
    return {"type": "object", "properties": properties, "required": names, "additionalProperties": False}


def tool(i: int, schema: Any = None) -> dict[str, Any]:
    return {"name": f"t{i}", "description": "d", "input_schema": schema or {"type": "object", "properties": {}}}


def tool_turns(n: int) -> dict[str, Any]:
    messages: list[Any] = [{"role": "user", "content": "Hi"}]
    for i in range(n):
        use = {"type": "tool_use", "id": f"toolu_{i}", "name": "t", "input": {"a": i}}
        result = {"type": "tool_result", "tool_use_id": f"toolu_{i}", "content": "ok"}
        messages += [{"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
    return asks(messages=messages, tools=[tool(0)])


def parallel_tool_turn(n: int) -> dict[str, Any]:
    uses = [{"type": "tool_use", "id": f"toolu_{i}", "name": "t", "input": {}} for i in range(n)]
    results = [{"type": "tool_result", "tool_use_id": f"toolu_{i}", "content": "ok"} for i in range(n)]
    first = {"role": "user", "content": "Hi"}
    return asks(messages=[first, {"role": "assistant", "content": uses}, {"role": "user", "content": results}])


IMAGE: Any = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
REQUESTS: dict[str, Callable[[int], dict[str, Any]]] = {
    "long text": lambda n: asks(messages=[{"role": "user", "content": "a" * n * 20}]),
    "white space": lambda n: said({"type": "text", "text": "x" + " " * n * 20 + "x"}),
    "escapes": lambda n: said({"type": "text", "text": '"\\\n' * n}),
    "line separators": lambda n: said({"type": "text", "text": "\u2028\u0085" * n}),
    "astral characters": lambda n: said({"type": "text", "text": "😀" * n}),
    "many blocks": lambda n: said(*[{"type": "text", "text": "a"}] * n),
    "many images": lambda n: said(*[IMAGE] * n),
    "one long image": lambda n: said({**IMAGE, "source": {**IMAGE["source"], "data": "A" * 4 * n * 10}}),
    "many messages": lambda n: asks(
        messages=[{"role": ("user", "assistant")[i % 2], "content": "a"} for i in range(n)]
    ),
    "one role": lambda n: asks(messages=[{"role": "user", "content": "a"}] * n),
    "system turns": lambda n: asks(
        messages=[{"role": "user", "content": "a"}, *[{"role": "system", "content": "a"}] * n]
    ),
    "many system blocks": lambda n: asks(system=[{"type": "text", "text": "a"}] * n),
    "tool turns": tool_turns,
    "parallel tool calls": parallel_tool_turn,
    "unanswered tool calls": lambda n: asks(messages=parallel_tool_turn(n)["messages"][:2]),
    "thinking": lambda n: said(*[{"type": "thinking", "thinking": "a", "signature": "c2ln"}] * n, role="assistant"),
    "many tools": lambda n: asks(tools=[tool(i) for i in range(n)], tool_choice={"type": "tool", "name": "t0"}),
    "wide tool": lambda n: asks(tools=[tool(0, closed_schema(n))]),
    "wide strict tool": lambda n: asks(tools=[{**tool(0, closed_schema(n)), "strict": True}]),
    "deep tool": lambda n: asks(tools=[tool(0, {"type": "object", "anyOf": nested(n)})]),
    "closed schema": lambda n: asks(output_config={"format": {"type": "json_schema", "schema": closed_schema(n)}}),
    "deep schema": lambda n: asks(output_config={"format": {"type": "json_schema", "schema": {"anyOf": nested(n)}}}),
    "unknown blocks": lambda n: said(*[{"type": "novel", "data": {"a": [1, 2]}}] * n),
    "unknown fields": lambda n: asks(**{f"f{i}": i for i in range(n)}),
    "wide tool input": lambda n: said(
        {"type": "tool_use", "id": "t", "name": "t", "input": {f"k{i}": i for i in range(n)}}, role="assistant"
    ),
    "stop sequences": lambda n: asks(stop_sequences=[f"stop {i}" for i in range(n)]),
    "metadata": lambda n: asks(metadata={"user_id": "u" * n}),
    "fallbacks": lambda n: asks(fallbacks=[{"model": "m"}] * n),
    "tool additions": lambda n: said(*[{"type": "tool_addition", "tool": {"definition": {"model": "m"}}}] * n),
    "fields called model": lambda n: asks(novel=[{"model": "m"}] * n),
    "long URLs": lambda n: said(*[{"type": "image", "source": {"type": "url", "url": "u" * 300}}] * n),
    "null members": lambda n: said(*[{"type": "text", "text": "a", "cache_control": None}] * n),
}


def parse_strict(request: dict[str, Any]) -> None:
    body.parse(wire.encode(request), strict=True)


def parse_open(request: dict[str, Any]) -> None:
    body.parse(wire.encode(request), strict=False)


REQUEST_READERS: dict[str, Callable[[Any], Any]] = {
    "parse, envelope API": parse_strict,
    "parse, Anthropic API": parse_open,
    "estimate": estimate,
    "named models": lambda request: list(named_models(request)),
    "tool ids": tool_ids,
    "clean history": clean_history,
    "empty response": lambda request: empty_response(request, ids()),
    **{f"to OpenAI, {name}": partial(to_openai, profile=profile) for name, profile in PROFILES.items()},
}


def ids() -> Ids:
    return Ids("1")


def completion(**message: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}]}


def call(arguments: str, *, i: int = 0, **fields: Any) -> dict[str, Any]:
    return {"index": i, "id": f"c{i}", "type": "function", "function": {"name": "t", "arguments": arguments}, **fields}


ARGUMENTS: dict[str, Callable[[int], str]] = {
    "spaces": lambda n: "x" + " " * n + "x",
    "braces": lambda n: "{" * n,
    "empty objects": lambda n: "{} " * n,
    "spaced object": lambda n: " " * n + "{" + " " * n + "}" + " " * n + "x",
    "quotes": lambda n: '{"a":"' + '\\"' * n,
    "backslashes": lambda n: '{"a":"' + "\\" * n,
    "digits": lambda n: '{"a":' + "1" * n,
    "lists": lambda n: '{"a":[' + "[]," * n + "1]}",
    "members": lambda n: json.dumps({f"k{i}": i for i in range(n)}),
}


def with_arguments(make: Callable[[int], str], n: int) -> Any:
    return completion(tool_calls=[call(make(n))])


COMPLETIONS: dict[str, Callable[[int], Any]] = {
    **{f"arguments, {name}": partial(with_arguments, make) for name, make in ARGUMENTS.items()},
    "many calls": lambda n: completion(tool_calls=[call("{}", i=i) for i in range(n)]),
    "calls of one id": lambda n: completion(tool_calls=[{**call("{}"), "index": i} for i in range(n)]),
    "long text": lambda n: completion(content="a" * n * 20),
    "many parts": lambda n: completion(content=[{"type": "text", "text": "a"}] * n),
    "many choices": lambda n: {"choices": completion(content="a")["choices"] * n},
    "list": lambda n: [[]] * n,
    "long finish reason": lambda n: {"choices": [{"message": {"content": "a"}, "finish_reason": "s" * n}]},
}
MESSAGE: dict[str, Any] = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
    "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1},
}  # fmt: skip
MESSAGES: dict[str, Callable[[int], Any]] = {
    "many blocks": lambda n: {**MESSAGE, "content": [{"type": "text", "text": "a"}] * n},
    "long text": lambda n: {**MESSAGE, "content": [{"type": "text", "text": "a" * n * 20}]},
    "many calls": lambda n: {
        **MESSAGE,
        "content": [{"type": "tool_use", "id": f"t{i}", "name": "t", "input": {}} for i in range(n)],
    },
    "wide input": lambda n: {
        **MESSAGE,
        "content": [{"type": "tool_use", "id": "t", "name": "t", "input": {f"k{i}": i for i in range(n)}}],
    },
    "iterations": lambda n: {
        **MESSAGE,
        "content": [],
        "usage": {**MESSAGE["usage"], "iterations": [MESSAGE["usage"]] * n},
    },
    "unknown members": lambda n: {**MESSAGE, "content": [], **{f"k{i}": i for i in range(n)}},
    "list": lambda n: [[]] * n,
}


def delta(**fields: Any) -> bytes:
    return b"data: " + wire.encode({"choices": [{"index": 0, "delta": fields}]}) + b"\n\n"


def event(**fields: Any) -> bytes:
    return f"event: {fields['type']}\ndata: ".encode() + wire.encode(fields) + b"\n\n"


START = event(type="message_start", message={**MESSAGE, "content": [], "stop_reason": None})
TEXT_BLOCK = event(type="content_block_start", index=0, content_block={"type": "text", "text": ""})
TOOL_USE = {"type": "tool_use", "id": "t", "name": "t", "input": {}}
TOOL_BLOCK = event(type="content_block_start", index=0, content_block=TOOL_USE)
MESSAGE_DELTA = event(type="message_delta", delta={"stop_reason": None}, usage={"output_tokens": 1})
OPEN_STREAMS: dict[str, Callable[[int], bytes]] = {
    "text pieces": lambda n: delta(content="a") * n,
    "thinking pieces": lambda n: delta(reasoning_content="a") * n,
    "alternating": lambda n: (delta(content="a") + delta(reasoning_content="a")) * n,
    "argument pieces": lambda n: (
        delta(tool_calls=[call('{"a":"')]) + delta(tool_calls=[{"index": 0, "function": {"arguments": "x"}}]) * n
    ),
    "brace pieces": lambda n: (
        delta(tool_calls=[call("{")]) + delta(tool_calls=[{"index": 0, "function": {"arguments": "{"}}]) * n
    ),
    "many calls": lambda n: b"".join(delta(tool_calls=[call("{}", i=i)]) for i in range(n)),
    "unfinished calls": lambda n: b"".join(delta(tool_calls=[call("{", i=i)]) for i in range(n)),
    "calls without index": lambda n: b"".join(delta(tool_calls=[{**call("{}", i=i), "index": None}]) for i in range(n)),
    "text behind an unfinished call": lambda n: delta(tool_calls=[call("{")]) + delta(content="a") * n,
    "name pieces": lambda n: (
        delta(tool_calls=[call("")]) + delta(tool_calls=[{"index": 0, "function": {"name": "a"}}]) * n
    ),
    "repeated arguments": lambda n: delta(tool_calls=[call('{"a":1}')]) * n,
    "doubtful arguments": lambda n: delta(tool_calls=[call('{"a":')]) * n,
    "content of many choices": lambda n: b"".join(
        b"data: " + wire.encode({"choices": [{"index": i, "delta": {"content": "a"}}]}) + b"\n\n" for i in range(n)
    ),
    "early finish reasons": lambda n: (
        (b"data: " + wire.encode({"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]}) + b"\n\n") * n
    ),
    "empty choices": lambda n: b'data: {"choices":[]}\n\n' * n,
    "comments": lambda n: b": ping\n" * n,
    "blank lines": lambda n: b"\n" * n,
    "carriage returns": lambda n: b"\r" * n,
    "lines without an end": lambda n: b"data: a\n" * n,
    "event lines": lambda n: b"event: a\n" * n,
    "one long line": lambda n: b"data: " + b"a" * n * 20,
}
ANTHROPIC_STREAMS: dict[str, Callable[[int], bytes]] = {
    "text pieces": lambda n: START + TEXT_BLOCK
    + event(type="content_block_delta", index=0, delta={"type": "text_delta", "text": "a"}) * n,
    "argument pieces": lambda n: START
    + TOOL_BLOCK
    + event(type="content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": "{"}) * n,
    "blocks": lambda n: START + b"".join(
        event(type="content_block_start", index=i, content_block={"type": "text", "text": ""})
        + event(type="content_block_stop", index=i) for i in range(n)
    ),
    "interleaved calls": lambda n: START + b"".join(
        event(type="content_block_start", index=i, content_block={**TOOL_USE, "id": f"t{i}"}) for i in range(n)
    ) + b"".join(
        event(type="content_block_delta", index=i, delta={"type": "input_json_delta", "partial_json": "{"})
        for i in range(n)
    ) + event(type="message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 1}),
    "calls that end last": lambda n: START + b"".join(
        event(type="content_block_start", index=i, content_block={**TOOL_USE, "id": f"t{i}"}) for i in range(n)
    ) + b"".join(event(type="content_block_stop", index=i) for i in range(n)),
    "text on a call": lambda n: START + TOOL_BLOCK
    + event(type="content_block_delta", index=0, delta={"type": "text_delta", "text": "a"}) * n
    + event(type="content_block_stop", index=0),
    "text and thinking on a text": lambda n: START + TEXT_BLOCK + (
        event(type="content_block_delta", index=0, delta={"type": "text_delta", "text": "a"})
        + event(type="content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "a"})
    ) * n,
    "pings": lambda n: START + event(type="ping") * n,
    "deltas": lambda n: START + MESSAGE_DELTA * n,
    "unknown events": lambda n: START + event(type="novel", a=1) * n,
}  # fmt: skip
ERRORS: dict[str, Callable[[int], Any]] = {
    "digits": lambda n: {"error": {"message": "maximum context length " + "1" * n, "type": "invalid_request_error"}},
    "numbers": lambda n: {
        "error": {"message": "maximum context length " + "123 " * n, "type": "invalid_request_error"}
    },
    "commas": lambda n: {"error": {"message": "context window " + "1,234" * n, "type": "invalid_request_error"}},
    "spaces": lambda n: {"error": {"message": "x" + " " * n + "x", "type": "t", "code": "c" * n}},
    "text": lambda n: "a " * n,
    "nested": lambda n: {"error": nested(n)},
}


def stream_of_openai(raw: bytes, *, step: int = 4096) -> None:
    decode(OpenAIDecoder(asks(stream=True), ids=ids()), raw, step=step)


def stream_of_anthropic(raw: bytes) -> None:
    decode(AnthropicDecoder(asks(stream=True)), raw, step=4096)


def decode(decoder: Any, raw: bytes, *, step: int) -> None:
    parser, encoder = SSEParser(), ChunkEncoder(created=0)
    for start in range(0, len(raw), step):
        for record in parser.feed(raw[start : start + step]):
            for each in decoder.read(record):
                encoder.feed(each)
    for each in decoder.eof():
        encoder.feed(each)


def frames_in_pieces(raw: bytes) -> None:
    frames = FrameBuffer()
    for start in range(0, len(raw), 64):
        frames.feed(raw[start : start + 64])


def parsed_byte_by_byte(raw: bytes) -> None:
    parser = SSEParser()
    for start in range(0, min(len(raw), 200_000), 3):
        parser.feed(raw[start : start + 3])


def as_completion(answer: Any) -> None:
    completion_from_message(message_from_openai(answer, request=asks(), ids=ids()), created=0)


Case = tuple[Callable[[Any], Any], Callable[[int], Any]]
CASES: dict[str, Case] = {}
GROUPS: list[tuple[str, dict[str, Callable[[Any], Any]], Mapping[str, Callable[[int], Any]]]] = [
    ("request", REQUEST_READERS, REQUESTS),
    ("completion", {"message from OpenAI": as_completion}, COMPLETIONS),
    ("message", {"message from Anthropic": lambda answer: message_from_anthropic(answer, request=asks())}, MESSAGES),
    ("stream", {"OpenAI": stream_of_openai, "frames": frames_in_pieces, "parser": parsed_byte_by_byte}, OPEN_STREAMS),
    ("stream", {"Anthropic": stream_of_anthropic}, ANTHROPIC_STREAMS),
    ("error", {"OpenAI": partial(map_openai_error, 400), "Anthropic": partial(map_anthropic_error, 400)}, ERRORS),
    ("arguments", {"parse": response_content.parse_arguments}, ARGUMENTS),
]
for group, readers, shapes in GROUPS:
    for reader, read in readers.items():
        for shape, make in shapes.items():
            CASES[f"{group}: {reader}: {shape}"] = (read, make)


def cpu_s(read: Callable[[Any], Any], value: Any) -> float:
    """Return the CPU time of one run, without the collector: it walks the whole heap of the test process."""
    gc.disable()
    began = time.process_time()
    try:
        with suppress(*EXPECTED):
            read(value)
        return time.process_time() - began
    finally:
        gc.enable()


@pytest.mark.parametrize("name", CASES)
def test_time_grows_no_faster_than_input(name: str) -> None:
    read, make = CASES[name]
    large = cpu_s(read, make(4 * SIZE))
    if large < LONG_ENOUGH_S:
        return  # quadratic work would have taken longer

    small, large = (min(cpu_s(read, make(n)) for _ in range(3)) for n in (SIZE, 4 * SIZE))

    assert large <= MAX_FACTOR * small, f"{SIZE}: {small * 1e3:.1f} ms, {4 * SIZE}: {large * 1e3:.1f} ms"
