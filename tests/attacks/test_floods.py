"""An upstream that sends without end, as fast as it is read, takes no time from other requests."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from messages_api.backend import event_source
from messages_api.backend.event_source import EventSource
from messages_api.backend.exchange import Exchange
from messages_api.backend.protocol.decoder import OpenAIDecoder
from messages_api.backend.protocol.ids import Ids
from messages_api.backend.upstream_error import UpstreamError
from tests.messages_api.backend.test_upstream_errors import endpoint
from tests.support.gateway import Gateway, get, wait_until
from tests.upstream import ScriptedUpstream, Send

PATHS = ["/api/v1/messages", "/api/anthropic/v1/messages"]
PIECE = 2**20
TRIES = 3  # other processes of a busy machine hold the worker up as well
REQUEST_TIMEOUT_S = 3.0
MAX_DELAY_S = 1.5
"""For /livez beside the floods, on a busy machine. A flood that gives no turn holds the worker until it ends: 7.7 s."""

EVENT_STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
STREAMS_WITHOUT_EVENTS = {
    "comment lines": (EVENT_STREAM, b": x\n"),
    "comments": (EVENT_STREAM, b": x\n\n"),
    "blank lines": (EVENT_STREAM, b"\n"),
    "carriage returns": (EVENT_STREAM, b"\r"),
    "empty events": (EVENT_STREAM, b"event: a\n\n"),
    "empty data": (EVENT_STREAM, b"data:\n\n"),
    "chunks without a choice": (EVENT_STREAM, b'data: {"choices":[]}\n\n'),
}
ENDLESS_BYTES = {
    "interim responses": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"a: b\r\n"),
    "a header": (b"HTTP/1.1 200 OK\r\na: ", b"b"),
    "trailers": (CHUNKED + b"0\r\n", b"a: b\r\n"),
    "a chunk extension": (CHUNKED + b"1;a=", b"b"),
    "chunks of a byte": (CHUNKED, b"1\r\n\n\r\n"),
    "a line": (EVENT_STREAM + b"data: ", b"x"),
    "a body": (b"HTTP/1.1 200 OK\r\n\r\n", b"[],"),
    "a body of an error": (b"HTTP/1.1 500 Failed\r\n\r\n", b"x"),
    "a body with a length": (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", b"x"),
}
EVERY_KIND = STREAMS_WITHOUT_EVENTS | ENDLESS_BYTES


def asks(kind: str, *, stream: bool) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": kind}], "stream": stream}


def flood(request: Any) -> Iterator[Any]:
    """Send the kind of flood that the request names, without end."""
    head, unit = EVERY_KIND[request.body["messages"][0]["content"]]
    yield Send(head)
    piece = unit * (PIECE // len(unit))
    while True:
        yield Send(piece)


@pytest.mark.parametrize(
    ("kinds", "stream"),
    [
        pytest.param(list(STREAMS_WITHOUT_EVENTS), True, id="streams without events"),
        pytest.param(list(ENDLESS_BYTES), True, id="endless bytes, streamed"),
        pytest.param(list(ENDLESS_BYTES), False, id="endless bytes, plain"),
    ],
)
def test_floods_delay_no_other_request(gateway: Gateway, kinds: list[str], stream: bool) -> None:
    """One concurrent request for each kind."""
    gateway.configure_upstream("openai", request_timeout_s=REQUEST_TIMEOUT_S)
    gateway.upstream.queue(flood, times=None)
    longest_s = []
    for number in range(TRIES):
        longest_s.append(longest_delay_s(gateway, kinds, stream=stream))
        assert {row.status for row in gateway.settled((number + 1) * len(kinds))} == {"failed"}
        if longest_s[-1] < MAX_DELAY_S:
            break
    assert min(longest_s) < MAX_DELAY_S


def longest_delay_s(gateway: Gateway, kinds: list[str], *, stream: bool) -> float:
    """Return how long /livez takes at most beside one flood of each kind."""
    before = len(gateway.upstream.requests)
    with ThreadPoolExecutor(len(kinds)) as clients:
        flooded = [
            clients.submit(gateway.post, PATHS[i % 2], asks(kind, stream=stream)) for i, kind in enumerate(kinds)
        ]
        wait_until(lambda: len(gateway.upstream.requests) >= before + len(kinds))
        delays_s = list(_livez_delays(gateway, while_running=flooded))
    assert {one.result().status for one in flooded} <= {200, 500, 502, 504}
    return max(delays_s)


def _livez_delays(gateway: Gateway, *, while_running: list[Any]) -> Iterator[float]:
    """Yield how long /livez takes until the requests have ended."""
    while not all(one.done() for one in while_running):
        began = time.monotonic()
        assert get(gateway.port, "/livez").status == 200
        yield time.monotonic() - began


@pytest.mark.parametrize("kind", STREAMS_WITHOUT_EVENTS)
def test_a_stream_without_events_is_cut(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """As soon as it is longer than the longest complete response."""
    monkeypatch.setattr(event_source, "MAX_RESPONSE_BYTES", 3 * PIECE)
    request: Any = asks(kind, stream=True)
    with ScriptedUpstream() as upstream:
        upstream.queue(flood)
        exchange = Exchange(endpoint(upstream.url))
        exchange.open("/chat/completions", b'{"messages":[{"content":"%s"}]}' % kind.encode(), {})

        with pytest.raises(UpstreamError, match="without an event"):
            source = EventSource(exchange, OpenAIDecoder(request, ids=Ids("1")))
            while True:
                source.read(wait_s=10)
        exchange.close()
