"""
A fast mock upstream on 127.0.0.1, in both dialects: keep-alive, chunked server-sent events.

    python -m bench.load.upstream --port 9100 [--chunks 160 --interval 50 --delay 0]

The model name in the body selects the behavior. The arguments are the defaults:

    mock                the defaults
    mock-d50            respond after 50 ms
    mock-n200-i50       a stream of 200 chunks, one every 50 ms; i0 is as fast as possible
    mock-e529           respond with HTTP 529
    mock-l3 / mock-c7   leave out chunk 3 / cut the connection after 7 chunks

The text of chunk k is "<k>:<monotonic microseconds> ", so that a client can see loss, order and latency.
GET .../models lists the model. Any other GET returns counters: requests, streams, done, aborted, open.
"""

import argparse
import asyncio
import re
import time
from typing import cast

from bench.load import loop, replies

MODEL = re.compile(rb'"model"\s*:\s*"(?:[^"/]*/)*([^"]+)"')
STREAM = re.compile(rb'"stream"\s*:\s*true')
LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.I)
CHUNKED = re.compile(rb"\r\ntransfer-encoding:\s*chunked", re.I)
OPTION = re.compile(rb"-([dnielc])(\d+)(?=-|$)")
MODELS = {"object": "list", "data": [{"id": "mock", "object": "model", "type": "model"}]}

counters = {"requests": 0, "streams": 0, "done": 0, "aborted": 0, "open": 0}
defaults = {b"n": 160, b"i": 50, b"d": 0}


class Connection(asyncio.Protocol):
    """A client connection: one request after the other, each with a response, a late response or a stream."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.received: list[bytes] = []
        self.missing = 0  # bytes of a body that has not arrived; large bodies are joined once
        self.timer: asyncio.TimerHandle | None = None
        self.is_streaming = False
        self.is_anthropic = False
        self.options: dict[bytes, int] = {}
        self.sent = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def connection_lost(self, exc: Exception | None) -> None:
        if self.timer:
            self.timer.cancel()
        if self.is_streaming:
            counters["aborted"] += 1
            counters["open"] -= 1

    def data_received(self, data: bytes) -> None:
        self.received.append(data)
        self.missing -= len(data)
        if self.missing > 0:
            return
        buffer = self.received[0] if len(self.received) == 1 else b"".join(self.received)
        while buffer and (end := self._end_of_request(buffer)):
            request, buffer = buffer[:end], buffer[end:]
            self._handle(*request.split(b"\r\n\r\n", 1))
        self.received = [buffer] if buffer else []

    def _end_of_request(self, buffer: bytes) -> int:
        """Return the length of the first request, or 0 and note what is missing."""
        self.missing = 0
        head_end = buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return 0
        head, end = buffer[:head_end], head_end + 4
        if length := LENGTH.search(head):
            end += int(length[1])
        elif CHUNKED.search(head):
            last = buffer.find(b"0\r\n\r\n", end)
            return last + 5 if last >= 0 else 0
        if len(buffer) < end:
            self.missing = end - len(buffer)
            return 0
        return end

    def _handle(self, head: bytes, body: bytes) -> None:
        target = head.split(b" ", 2)[1].partition(b"?")[0]
        if head.startswith(b"GET "):
            self.transport.write(replies.response(MODELS if target.endswith(b"/models") else counters))
            return
        counters["requests"] += 1
        self.is_anthropic = target.endswith(b"/messages")
        name = MODEL.search(body)
        self.options = defaults | {key: int(value) for key, value in OPTION.findall(name[1] if name else b"")}
        if b"e" in self.options:
            act = self._fail
        elif STREAM.search(body):
            act = self._start
        else:
            act = self._respond
        if self.options[b"d"]:
            self.timer = self.loop.call_later(self.options[b"d"] / 1000, act)
        else:
            act()

    def _fail(self) -> None:
        error = {"type": "error", "error": {"type": "api_error", "message": "as requested"}}
        self.transport.write(replies.response(error, f"{self.options[b'e']} As Requested"))

    def _respond(self) -> None:
        self.timer = None
        if not self.transport.is_closing():
            self.transport.write(replies.ANTHROPIC_RESPONSE if self.is_anthropic else replies.OPENAI_RESPONSE)

    def _start(self) -> None:
        counters["streams"] += 1
        counters["open"] += 1
        self.is_streaming, self.sent = True, 0
        self.due = self.loop.time()
        first = replies.ANTHROPIC_FIRST if self.is_anthropic else replies.OPENAI_FIRST
        self.transport.write(replies.STREAM_HEAD + first)
        self._tick()

    def _tick(self) -> None:
        delta = replies.ANTHROPIC_DELTA if self.is_anthropic else replies.OPENAI_DELTA
        lost, cut, interval = self.options.get(b"l"), self.options.get(b"c"), self.options[b"i"] / 1000
        while self.sent < self.options[b"n"]:
            if self.sent == cut:
                self.transport.abort()
                return
            if self.sent != lost:
                stamp = b"%d:%d " % (self.sent, time.monotonic_ns() // 1000)
                self.transport.write(replies.http_chunk(delta % stamp))
            self.sent += 1
            if interval:
                self.due += interval
                self.timer = self.loop.call_later(max(0.0, self.due - self.loop.time()), self._tick)
                return
        self.is_streaming, self.timer = False, None
        counters["done"] += 1
        counters["open"] -= 1
        self.transport.write(replies.ANTHROPIC_LAST if self.is_anthropic else replies.OPENAI_LAST)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=9100)
    parser.add_argument("--chunks", type=int, default=160, help="chunks of a stream")
    parser.add_argument("--interval", type=int, default=50, help="milliseconds between chunks")
    parser.add_argument("--delay", type=int, default=0, help="milliseconds before each response")
    options = parser.parse_args()
    defaults.update({b"n": options.chunks, b"i": options.interval, b"d": options.delay})
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", options.port, backlog=8192)
    await server.serve_forever()


if __name__ == "__main__":
    loop.run(main())
