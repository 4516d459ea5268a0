"""
Streams over real sockets in a gevent loop, from a scripted upstream to a client. Run by `test_relayed_streams.py`.

    python -m tests.messages_api.gateway.relaying_program CA_FILE

Prints JSON, by the name of a case: what the client received, the characters that were counted, and how many reads were
relayed.
"""

# ruff: noqa: E402
from gevent import monkey

monkey.patch_all()

import json
import os
import socket
import sys
import time
from itertools import product
from pathlib import Path
from typing import Any, cast

import django
import gevent
from django.conf import settings

from tests.support import environment as environment  # sets the environment of a test installation

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
django.setup()

from messages_api.apis import anthropic, envelope
from messages_api.apis.streaming import EncodedStream
from messages_api.backend.endpoint import Endpoint, Timeouts
from messages_api.backend.event_source import EventBatch, EventSource, PlainBatch
from messages_api.backend.exchange import Exchange
from messages_api.backend.protocol.decoder import OpenAIDecoder
from messages_api.backend.protocol.ids import Ids
from messages_api.backend.protocol.profile import Profile
from messages_api.backend.protocol.relay import AnthropicDecoder
from messages_api.gateway.observer import Observer
from messages_api.gateway.stream import open_stream
from project.server.connections import Connection
from project.server.responses import JoinedResponse
from tests.project.server.test_plain_requests import CFG
from tests.project.server.test_responses import request as http_request
from tests.upstream import Chunk, Close, Head, Pause, Reply, ScriptedUpstream, Send, frames_of, streamed
from tests.upstream.certificates import Authority
from tests.upstream.steps import Script

REQUEST: Any = {"model": "m", "max_tokens": 64, "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
SSE = {"content-type": "text/event-stream"}
SEND_BUFFER_BYTES = 16_384
WORDS = [f"word {number} é🙂 " for number in range(60)]
MANY = [f"{number} {'x' * 500} " for number in range(400)]


class CountedRequest:
    """An in-flight request as far as a stream needs it, with counts of what it observed."""

    writing_since: float | None = None
    first_write_at: float | None = None
    request_id = "req_1"

    def __init__(self, source: EventSource) -> None:
        self._source = source
        self.observer = Observer()
        self.relayed = 0

    def admit(self) -> None: ...

    def open_source(self) -> EventSource:
        return self._source

    def observe(self, source: EventSource, batch: EventBatch) -> None:
        self.observer.observe_events(batch.events)

    def observe_plain(self, batch: PlainBatch) -> None:
        self.relayed += 1
        self.observer.observe_plain(batch.texts)

    def record_error(self, error: BaseException) -> None: ...

    def on_stream_abandoned(self) -> bool:
        return False

    def abort_upstream(self) -> None: ...

    def settle(self) -> None: ...


def paced_words(request: Any) -> Any:
    return streamed(frames_of(request, Reply(WORDS)), every_s=0.005)


def cut_in_a_frame(request: Any) -> Any:
    frames = frames_of(request, Reply(WORDS))[:30]
    yield Head(headers=SSE)
    for frame in frames:
        yield Chunk(frame)
        yield Pause(0.005)
    yield Chunk(frames[-1][:40])
    yield Close()


def in_odd_pieces(request: Any) -> Any:
    """Send chunks that begin and end inside frames, in segments that begin and end inside chunks."""
    whole = b"".join(frames_of(request, Reply(WORDS)))
    chunks = [whole[start : start + 700] for start in range(0, len(whole), 700)]
    raw = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in [*chunks, b""])
    yield Head(headers=SSE)
    for start in range(0, len(raw), 450):
        yield Send(raw[start : start + 450])
        yield Pause(0.001)


def with_a_pause(received: bytearray) -> Script:
    """Return a script that pauses until the client has received two pings."""

    def script(request: Any) -> Any:
        yield Head(headers=SSE)
        for number, frame in enumerate(frames_of(request, Reply(WORDS))):
            yield Chunk(frame)
            yield Pause(0.005)
            while number == 30 and received.count(b"ping") < 2:
                yield Pause(0.02)
        yield Send(b"0\r\n\r\n")

    return script


def many_words(request: Any) -> Any:
    return streamed(frames_of(request, Reply(MANY)), every_s=0.001)


SCENARIOS = ("paced", "cut", "odd", "pause", "full")


def script_of(scenario: str, received: bytearray) -> Script:
    if scenario == "pause":
        return with_a_pause(received)
    scripts = {"paced": paced_words, "cut": cut_in_a_frame, "odd": in_odd_pieces, "full": many_words}
    return scripts[scenario]


def serve(
    upstream: ScriptedUpstream,
    dialect: str,
    api: str,
    ca_file: str,
    client: socket.socket,
    requests: list[CountedRequest],
) -> None:
    endpoint = Endpoint(
        name="scripted",
        dialect=dialect,
        base_url=upstream.url,
        credential="-",
        profile=Profile(),
        timeouts=Timeouts(),
        ca_file=ca_file,
    )
    exchange = Exchange(endpoint)
    exchange.open({"openai": "/chat/completions", "anthropic": "/messages"}[dialect], json.dumps(REQUEST).encode(), {})
    kind: Any = {"openai": OpenAIDecoder, "anthropic": AnthropicDecoder}[dialect]
    decoder = kind(cast(Any, REQUEST), ids=Ids("5f"))
    request = CountedRequest(EventSource(exchange, decoder, keep_raw=dialect == api == "anthropic"))
    requests.append(request)
    body = EncodedStream(open_stream(request), encoder={"anthropic": anthropic, "envelope": envelope}[api].Encoder())
    response = JoinedResponse(http_request("POST"), Connection(client, idle_timeout_s=60), CFG)
    response.start_response("200 OK", [])
    response.write_all(body)
    body.close()
    client.shutdown(socket.SHUT_WR)


def is_blocked(requests: list[CountedRequest]) -> bool:
    """Return whether the server waits for the client to read."""
    since = requests[0].writing_since if requests else None
    return since is not None and time.monotonic() - since > 0.2


def result_of(dialect: str, api: str, scenario: str, authority: Authority | None, ca_file: str) -> dict[str, Any]:
    near, far = socket.socketpair()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    with ScriptedUpstream(tls=authority.context("good") if authority else None) as upstream:
        received = bytearray()
        upstream.queue(script_of(scenario, received))
        requests: list[CountedRequest] = []
        serving = gevent.spawn(serve, upstream, dialect, api, ca_file, near, requests)
        while scenario == "full" and not is_blocked(requests):
            time.sleep(0.01)
        while piece := far.recv(65536):
            received += piece
        serving.join(30)
        serving.get(block=False)
    (request,) = requests
    return {
        "received": received.decode(),
        "characters": request.observer._characters,
        "relayed": request.relayed,
        "is_complete": request.observer.is_complete,
    }


def main(ca_file: str) -> None:
    settings.HEARTBEAT_S = 0.2
    authority = Authority()
    Path(ca_file).write_text(authority.pem)
    running = {}
    for dialect, api, scenario in product(("openai", "anthropic"), ("anthropic", "envelope"), SCENARIOS):
        name = f"{dialect} {api} {scenario}"
        running[name] = gevent.spawn(result_of, dialect, api, scenario, None, "")
        running[f"{name} tls"] = gevent.spawn(result_of, dialect, api, scenario, authority, ca_file)
    gevent.joinall(list(running.values()), timeout=90)
    print(json.dumps({name: greenlet.get(block=False) for name, greenlet in running.items()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
