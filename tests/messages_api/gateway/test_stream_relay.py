"""Plain text frames relayed in the event loop: the bytes and the observation are those of the ordinary path."""

import gc
import json
import re
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.readiness import Relay
from messages_api.apis.streaming import EncodedStream
from messages_api.backend.event_source import EventBatch, EventSource, PlainBatch
from messages_api.backend.protocol.plain_frames import MAX_BYTES, anthropic_texts, openai_texts
from messages_api.backend.protocol.wire import encode_line
from messages_api.gateway.observer import Observer
from messages_api.gateway.stream import open_stream
from project.server.responses import JoinedResponse
from tests.differential.anthropic_streams import anthropic_stream
from tests.differential.core import FORMATS, INPUT_ESTIMATE, RecordedExchange, decoder_of, keeps_raw
from tests.differential.intended import GeneratedStream, Intended
from tests.differential.openai_streams import openai_stream
from tests.project.server.test_plain_requests import CFG
from tests.project.server.test_responses import request as http_request

EXAMPLES = settings(max_examples=60, deadline=None, database=None)
RECORDED = Path(__file__).parents[2] / "differential" / "recorded"
GENERATORS = {"openai": openai_stream, "anthropic": anthropic_stream}
ALL_PATHS = [(dialect, api) for dialect in GENERATORS for api in FORMATS]
all_paths = pytest.mark.parametrize(("dialect", "api"), ALL_PATHS, ids=lambda name: name)
FRAMES = re.compile(rb"(?s).+?(?:\n\n|\Z)")
CREATED = re.compile(rb'"created":\d+')

ALPHABET = 'ab \n\\"\u2028\x85\x00é🙂'
TEXTS = st.text(alphabet=ALPHABET, min_size=1, max_size=5) | st.sampled_from(["x" * 70_000, "\ufeff"])


# ---- the real parts from the exchange to the client's socket, without a loop


class Arriving(RecordedExchange):
    """A response whose pieces arrive one after the other, while `read` waits."""

    def __init__(self, pieces: list[bytes]) -> None:
        super().__init__(pieces)
        self.received = b""
        self.relayed = 0

    def read(self, *, wait_s: float, relay: Relay | None = None) -> bytes | None:
        while True:
            self.received = super().read(wait_s=wait_s) or b""
            if relay is None or not self.received:
                return self.received
            is_taken = relay()
            if self.received:
                assert not is_taken
                return self.received
            if not is_taken:
                return None

    def receive_now(self) -> bytes | None:
        return self.received

    def take_received(self) -> None:
        self.received = b""
        self.relayed += 1


@dataclass
class ObservedRequest:
    """An in-flight request as far as a stream needs it."""

    source: EventSource
    observer: Observer = field(default_factory=Observer)
    error: BaseException | None = None
    writing_since: float | None = None
    first_write_at: float | None = None
    request_id = "req_1"

    def admit(self) -> None: ...

    def open_source(self) -> EventSource:
        return self.source

    def observe(self, source: EventSource, batch: EventBatch) -> None:
        self.observer.observe_events(batch.events)

    def observe_plain(self, batch: PlainBatch) -> None:
        self.observer.observe_plain(batch.texts)

    def record_error(self, error: BaseException) -> None:
        self.error = error

    def on_stream_abandoned(self) -> bool:
        return False

    def abort_upstream(self) -> None: ...

    def settle(self) -> None: ...


class Client:
    """A client's socket, which accepts a part of what is sent without waiting."""

    def __init__(self, room: Iterator[int] | None = None) -> None:
        self.received = b""
        self.waits = 0
        self._room = room

    def sendall(self, data: bytes) -> None:
        self.waits += 1
        self.received += data

    def send_now(self, data: bytes) -> int:
        accepted = len(data) if self._room is None else min(len(data), next(self._room, len(data)))
        self.received += data[:accepted]
        return accepted


@dataclass(frozen=True)
class Outcome:
    """What a client received, and what its request observed."""

    body: bytes
    observed: dict[str, Any]
    relayed: int
    """Number of reads that were relayed."""


def outcome(stream: GeneratedStream, api: str, *, relays: bool, room: Iterator[int] | None = None) -> Outcome:
    exchange, client = Arriving(stream.pieces), Client(room)
    decoder = decoder_of(stream)
    try:
        source = EventSource(exchange, decoder, keep_raw=keeps_raw(stream, api))
    except Exception as error:  # before the first event
        return Outcome(repr(error).encode(), {}, 0)
    request = ObservedRequest(source)
    batches = open_stream(request)
    body = EncodedStream(batches, encoder=FORMATS[api].Encoder())
    response = JoinedResponse(http_request("POST"), client, CFG)
    response.start_response("200 OK", [])
    response.write_all(body if relays else iter(list(body)))
    body.close()
    return Outcome(_dechunked(client.received), _observed(stream, request, decoder), exchange.relayed)


def _observed(stream: GeneratedStream, request: ObservedRequest, decoder: Any) -> dict[str, Any]:
    observer = request.observer
    usage, usage_source = observer.usage(
        request.source.reported_usage(),
        request=cast(Any, stream.request),
        input_estimate=INPUT_ESTIMATE,
        was_sent=True,
    )
    return {
        "usage": usage,
        "usage_source": usage_source,
        "characters": decoder.characters,
        "has_generated": decoder.has_generated,
        "stop_reason": observer.stop_reason,
        "message_id": observer.message_id,
        "is_complete": observer.is_complete,
        "has_ttft": observer.ttft_ms is not None,
        "error": repr(request.error),
        "source_error": repr(request.source.error),
        "served": (decoder.served.model, decoder.served.usage_object, decoder.served.fact("service_tier")),
    }


def _dechunked(received: bytes) -> bytes:
    body, rest = b"", received.partition(b"\r\n\r\n")[2]
    while True:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        assert rest[length : length + 2] == b"\r\n"
        if not length:
            assert rest == b"\r\n"
            return CREATED.sub(b'"created":0', body)
        body, rest = body + rest[:length], rest[length + 2 :]


def assert_same(stream: GeneratedStream, api: str, room: Iterator[int] | None = None) -> int:
    """Assert that the relay changes nothing. Return how many reads were relayed."""
    relayed, ordinary = (outcome(stream, api, relays=relays, room=room) for relays in (True, False))
    assert relayed.body == ordinary.body
    assert relayed.observed == ordinary.observed
    assert ordinary.relayed == 0
    return relayed.relayed


# ---- streams


def stream_of(dialect: str, pieces: list[bytes]) -> GeneratedStream:
    intended = Intended(content=[], stop_reason="end_turn", stop_sequence=None, counts=None, cut_arguments=None)
    request = GENERATORS[dialect](0).request
    return GeneratedStream(seed=0, dialect=dialect, request=request, pieces=pieces, intended=intended)


def frame(dialect: str, event: Any, *, dump: Any = encode_line) -> bytes:
    name = b"event: %b\n" % event["type"].encode() if dialect == "anthropic" else b""
    return name + b"data: " + dump(event) + b"\n\n"


def escaped(event: Any) -> bytes:
    return json.dumps(event).encode()


def openai_event(delta: Any, finish: Any = None, **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice], **fields}


def text_event(dialect: str, text: str, index: int = 0) -> dict[str, Any]:
    if dialect == "openai":
        return openai_event({"content": text})
    return {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": text}}


def start_of(dialect: str) -> list[bytes]:
    """Return the frames up to the first text, after which text is plain."""
    if dialect == "openai":
        return [frame(dialect, openai_event({"role": "assistant", "content": ""})), text_frame(dialect, "First")]
    usage = {"input_tokens": 3, "output_tokens": 1}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-m", "content": []}
    start = {
        "type": "message_start",
        "message": {**message, "stop_reason": None, "stop_sequence": None, "usage": usage},
    }
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    return [frame(dialect, start), frame(dialect, block)]


def text_frame(dialect: str, text: str) -> bytes:
    return frame(dialect, text_event(dialect, text))


def end_of(dialect: str) -> list[bytes]:
    if dialect == "openai":
        return [frame(dialect, openai_event({}, "stop")), b"data: [DONE]\n\n"]
    stop = {"type": "content_block_stop", "index": 0}
    delta = {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}}
    return [
        frame(dialect, event) for event in (stop, delta | {"usage": {"output_tokens": 9}}, {"type": "message_stop"})
    ]


def unusual(dialect: str) -> list[bytes]:
    """Return frames that are not plain, or not always."""
    text = text_event(dialect, "t")
    common = [
        *(b": comment\n\n", b": comment\n", b"\n", b"data: {\n\n", b"data:\n\n", b"event: error\ndata: {}\n\n"),
        *(b"data: []\n\n", b"data: [DONE]\n\n", b"id: 7\n" + frame(dialect, text), b"data: \xff\n\n"),
        frame(dialect, text).replace(b"\n", b"\r\n"),
        frame(dialect, text).replace(b"data: ", b"data:"),
        frame(dialect, text).replace(b'"t"', b'"\xff\xfe"'),
        frame(dialect, text).replace(b'"t"', b'"\\ud83d"'),
        frame(dialect, text).replace(b'"t"', b'"\\ude00"'),
        frame(dialect, text).replace(b'"t"', b'"t",\ndata: "x":1'),
        frame(dialect, text).replace(b'"t"', b'"t","t":"u"'),
        frame(dialect, text).replace(b'"t"', b"null"),
        frame(dialect, text).replace(b'"t"', b'""'),
        frame(dialect, text).replace(b'"index":0', b'"index":1'),
        frame(dialect, text).replace(b'"index":0', b'"index":0.0'),
        frame(dialect, text).replace(b'"index":0', b'"index":-0'),
        frame(dialect, text).replace(b'"index":0', b'"index":true'),
        frame(dialect, text).replace(b'"index"', b'"\\u0069ndex"'),
        frame(dialect, {**text, "error": {"message": "m", "type": "t"}}),
        frame(dialect, {**text, "unknown": 1}),
        frame(dialect, text, dump=lambda event: json.dumps(event, indent=1).encode()),
    ]
    if dialect == "openai":
        events = [
            *(openai_event({"reasoning_content": "hm"}), openai_event({"content": "t", "reasoning_content": "hm"})),
            *(openai_event({"content": "t", "refusal": "no"}), openai_event({"content": "t"}, "stop")),
            *(openai_event({"content": "t"}, usage={"prompt_tokens": 1, "completion_tokens": 2}), openai_event({})),
            *(openai_event({"content": "t"}, service_tier="flex"), openai_event({"content": "t"}, usage=None)),
            *(openai_event({"content": "t", "role": "assistant", "tool_calls": None}), openai_event({"content": [1]})),
            openai_event({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "get", "arguments": '{"a'}}]}),
            {**text, "choices": text["choices"] * 2},
            {**text, "choices": []},
            {**text, "object": "error"},
        ]
    else:
        events = [
            {**text, "index": 1},
            {**text, "delta": {"type": "thinking_delta", "thinking": "hm"}},
            {**text, "delta": {"type": "signature_delta", "signature": "s"}},
            {**text, "delta": {"type": "citations_delta", "citation": {}}},
            {**text, "delta": {"type": "text_delta", "text": "t", "more": 1}},
            {"type": "content_block_stop", "index": 0},
            {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "a", "name": "b"}},
            {"type": "ping"},
            {"type": "error", "error": {"type": "overloaded_error", "message": "m"}},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
            {"type": "message_stop"},
        ]
        common.append(frame(dialect, text).replace(b"event: content_block_delta", b"event: ping"))
    return common + [frame(dialect, event) for event in events]


@st.composite
def frames(draw: Any, dialect: str) -> list[bytes]:
    """Return the frames of a stream that is mostly text, with unusual ones in between."""
    texts = st.builds(
        lambda text, dump: frame(dialect, text_event(dialect, text), dump=dump),
        TEXTS,
        st.sampled_from([encode_line, escaped]),
    )
    middle = draw(st.lists(texts | texts | texts | st.sampled_from(unusual(dialect)), max_size=12))
    return [*start_of(dialect), *middle, *(end_of(dialect) if draw(st.booleans()) else [])]


@st.composite
def reads(draw: Any, dialect: str) -> list[bytes]:
    """Return a stream as it is read: frame by frame, several together, or split anywhere."""
    whole = draw(frames(dialect))
    pieces: list[bytes] = []
    for each in whole:
        how = draw(st.sampled_from(["alone", "alone", "joined", "split"]))
        if how == "joined" and pieces:
            pieces[-1] += each
        elif how == "split":
            at = draw(st.integers(1, len(each) - 1)) if len(each) > 1 else 1
            pieces += [piece for piece in (each[:at], each[at:]) if piece]
        else:
            pieces.append(each)
    return pieces


# ---- tests


@all_paths
def test_all_frames_of_text_after_the_first_are_relayed(dialect: str, api: str) -> None:
    texts = [text_frame(dialect, text) for text in ("a", "é\u2028", '"', " ", "\n", "🙂")]
    pieces = [*start_of(dialect), *texts, texts[0] + texts[1], *end_of(dialect)]

    assert assert_same(stream_of(dialect, pieces), api) == 7


@all_paths
@EXAMPLES
@given(data=st.data())
def test_no_stream_is_changed_however_it_is_read(dialect: str, api: str, data: Any) -> None:
    assert_same(stream_of(dialect, data.draw(reads(dialect))), api)


@all_paths
@EXAMPLES
@given(data=st.data(), room=st.lists(st.integers(0, 200), max_size=12))
def test_a_client_that_reads_slowly_gets_all_in_order(dialect: str, api: str, data: Any, room: list[int]) -> None:
    assert_same(stream_of(dialect, data.draw(reads(dialect))), api, room=iter(room))


@all_paths
def test_after_a_full_socket_the_server_waits_for_the_client(dialect: str, api: str) -> None:
    pieces = [*start_of(dialect), *(text_frame(dialect, "word ") for _ in range(20)), *end_of(dialect)]

    assert assert_same(stream_of(dialect, pieces), api, room=iter([10_000, 3, 0, 10_000, 7])) == 20


@all_paths
@pytest.mark.parametrize("part", range(4))
def test_generated_streams_are_not_changed(dialect: str, api: str, part: int) -> None:
    relayed = 0
    for seed in range(part * 100, part * 100 + 100):
        stream = GENERATORS[dialect](seed)
        frame_by_frame = FRAMES.findall(b"".join(stream.pieces))
        relayed += assert_same(stream, api) + assert_same(replace(stream, pieces=frame_by_frame), api)
    assert relayed > 10


@pytest.mark.parametrize("api", list(FORMATS))
@pytest.mark.parametrize("path", sorted(RECORDED.glob("*.txt")), ids=lambda path: path.stem)
def test_recorded_streams_are_not_changed(path: Path, api: str) -> None:
    whole = path.read_bytes()
    for pieces in ([whole], FRAMES.findall(whole), [whole[start : start + 50] for start in range(0, len(whole), 50)]):
        assert_same(stream_of("anthropic", pieces), api)


def test_a_closed_stream_is_freed_immediately() -> None:
    stream = stream_of("openai", [*start_of("openai"), text_frame("openai", "a"), *end_of("openai")])
    request = ObservedRequest(EventSource(Arriving(stream.pieces), decoder_of(stream)))
    body = EncodedStream(open_stream(request), encoder=FORMATS["envelope"].Encoder())
    body.relay_to(lambda data: True)
    list(body)
    body.close()
    freed = weakref.ref(body)

    gc.disable()
    try:
        del body
        assert freed() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("dialect", list(GENERATORS))
def test_frames_that_may_mean_more_are_not_plain(dialect: str) -> None:
    def texts_of(data: bytes) -> list[str] | None:
        return openai_texts(data) if dialect == "openai" else anthropic_texts(data, index=0)

    plain = text_frame(dialect, "t")
    assert texts_of(plain * 2) == ["t", "t"]
    may_be_plain = {
        plain.replace(b'"t"', b'"t","t":"u"'),
        plain.replace(b'"index":0', b'"index":-0'),
        plain.replace(b'"index"', b'"\\u0069ndex"'),
        *(
            frame("openai", openai_event({"content": "t"}, **fields))
            for fields in ({"service_tier": "flex"}, {"usage": None})
        ),
        frame("openai", openai_event({"content": "t", "role": "assistant", "tool_calls": None})),
    }
    for each in unusual(dialect):
        assert each in may_be_plain or texts_of(each) is None, each
        assert texts_of(plain + each) is None or each in may_be_plain
    for length in range(1, len(plain)):
        assert texts_of(plain[:length]) is None
    assert texts_of(text_frame(dialect, "x" * MAX_BYTES)) is None
    assert texts_of(b"") is None
