"""What an upstream sends without an end takes a bounded part of a worker's memory."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.attacks.memory import peak_mib, reset_peak, resident_mib
from tests.support.gateway import Gateway, events
from tests.upstream import Send

PATH = "/api/v1/messages"
REQUEST: dict[str, Any] = {"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}]}
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
PIECE = 2**20
MAX_GROWTH_MIB = 64
"""Of a worker, for 16 MiB in the decoder. Without the bounds, one stream took 526 MiB in 8 s."""


def chunk(**delta: Any) -> bytes:
    return b"data: %s\n\n" % json.dumps({"choices": [{"index": 0, "delta": delta}]}).encode()


CALL = {"index": 0, "id": "call_1", "function": {"name": "t", "arguments": "{"}}
ENDLESS = {
    "comments without a blank line": (b"", b": x\n"),
    "text behind an unfinished tool call": (chunk(tool_calls=[CALL]), chunk(content="text " * 200)),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_a_response_without_an_end_takes_bounded_memory(gateway: Gateway, kind: str) -> None:
    first, unit = ENDLESS[kind]

    def endless(request: Any) -> Iterator[Any]:
        yield Send(HEAD + chunk(content="Hi") + first)  # not retried once the response has begun
        while True:
            yield Send(unit * (PIECE // len(unit)))

    gateway.configure_upstream("openai", request_timeout_s=15.0)
    gateway.post(PATH, REQUEST | {"stream": True})  # imports and caches
    gateway.upstream.queue(endless)
    reset_peak(gateway.server)
    before = resident_mib(gateway.server)

    response = gateway.post(PATH, REQUEST | {"stream": True}, timeout=60)

    grown = max(peak - was for peak, was in zip(peak_mib(gateway.server), before, strict=True))
    print(f"{kind}: {grown:.0f} MiB")
    assert "error" in list(events(response.lines()))[-1]
    assert grown < MAX_GROWTH_MIB
    assert sorted(record.status for record in gateway.settled(2)) == ["completed", "failed"]
