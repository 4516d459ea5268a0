"""
A lean upstream for thousands of streams: one thread, no script, just enough of Chat Completions, and a log of calls.

It runs in a process of its own (`python -m tests.soak.upstream`), says its port on stdout, and ends with its stdin.
Each call says itself what is to happen (`orders.Order`). The log is the truth that ledgers are held against: `GET
/log`, `/forget`, `/open`. Moments are those of the machine's monotonic clock, which all processes share.
"""

import asyncio
import json
import socket
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

from tests.soak.orders import Order

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
PROMPT_TOKENS = 9
POISONS: dict[str, dict[str, Any]] = {
    "huge tokens": {"completion_tokens": 2**80},
}


@dataclass(kw_only=True, slots=True)
class Served:
    """One call as the upstream saw it."""

    id: str
    began_at: float
    ended_at: float | None = None
    left_at: float | None = None
    """When the peer left, if it left before the end."""
    events: int = 0
    sent_bytes: int = 0


class Log:
    """All calls in the order of their arrival, and who is connected."""

    def __init__(self) -> None:
        self.calls: list[Served] = []
        self.open: set[asyncio.Protocol] = set()

    def answer(self, path: str) -> Any:
        if path == "/forget":
            self.calls.clear()
        if path == "/open":
            return len(self.open) - 1  # without the one who asks
        return [asdict(call) for call in self.calls]


class Connection(asyncio.Protocol):
    """One accepted connection: calls one after the other, until the peer leaves."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._received = b""
        self._order: Order | None = None
        self._served: Served | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._next_at = 0.0
        self._is_paused = False

    # ---- what asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._transport.set_write_buffer_limits(high=16_384)
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)  # what is sent has been taken by the gateway
        self._log.open.add(self)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._order is None:
            self._serve_next()

    def eof_received(self) -> None:
        self._leave()

    def connection_lost(self, error: Exception | None) -> None:
        self._leave()
        self._log.open.discard(self)

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        if self._order is not None and self._timer is None:
            self._go_on()

    def _leave(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._served is not None and self._served.ended_at is None:
            self._served.left_at = self._served.left_at or time.monotonic()
        self._order = None

    # ---- calls

    def _serve_next(self) -> None:
        head, mark, rest = self._received.partition(b"\r\n\r\n")
        if not mark:
            return
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        length = int(headers.get("content-length", "0"))
        if len(rest) < length:
            return
        self._received = rest[length:]
        if lines[0].startswith("GET"):
            self._send_json(self._log.answer(lines[0].split()[1]))
        else:
            self._begin(Order.of(json.loads(rest[:length])))

    def _begin(self, order: Order) -> None:
        self._order = order
        self._served = Served(id=order.id, began_at=time.monotonic())
        self._log.calls.append(self._served)
        if not order.streamed:
            self._timer = asyncio.get_running_loop().call_later(order.length_s, self._answer)
            return
        self._next_at = time.monotonic() + order.silent_s
        self._go_on()

    def _answer(self) -> None:
        order = self._order
        assert order is not None and self._served is not None
        message = {"role": "assistant", "content": "x" * order.characters * order.events}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        self._send_json(_envelope("chat.completion", order) | {"choices": [choice], "usage": _usage(order)})
        self._served.events = order.events
        self._end()

    def _go_on(self) -> None:
        """Send what is due, and come back when the next event is."""
        self._timer = None
        order, served = self._order, self._served
        assert order is not None and served is not None
        while not self._is_paused:
            wait_s = self._next_at - time.monotonic()
            if wait_s > 0:
                self._timer = asyncio.get_running_loop().call_later(wait_s, self._go_on)
                return
            if served.events == 0:
                self._write(HEAD)
            if served.events == order.events:
                self._finish(order)
                return
            served.events += 1
            self._next_at += order.every_s
            self._chunk(_text(order, "x" * order.characters))

    def _finish(self, order: Order) -> None:
        stop = {"index": 0, "delta": {}, "finish_reason": "stop"}
        usage = {"choices": [], "usage": _usage(order)}
        for values in ({"choices": [stop]}, usage):
            self._chunk(_envelope("chat.completion.chunk", order) | values)
        self._write(_chunked(b"data: [DONE]\n\n") + b"0\r\n\r\n")
        self._end()

    def _end(self) -> None:
        assert self._served is not None
        self._served.ended_at = time.monotonic()
        self._order = self._timer = None
        self._serve_next()

    # ---- bytes

    def _chunk(self, values: dict[str, Any]) -> None:
        self._write(_chunked(b"data: " + json.dumps(values).encode() + b"\n\n"))

    def _send_json(self, values: Any) -> None:
        body = json.dumps(values).encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        self._write(head.encode() + body)

    def _write(self, data: bytes) -> None:
        if self._served is not None:
            self._served.sent_bytes += len(data)
        self._transport.write(data)


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _envelope(kind: str, order: Order) -> dict[str, Any]:
    return {"id": f"chatcmpl-{order.id}", "object": kind, "created": 1767225600, "model": "soak"}


def _text(order: Order, text: str) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return _envelope("chat.completion.chunk", order) | {"choices": [choice]}


def _usage(order: Order) -> dict[str, Any]:
    usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": order.events}
    return usage | POISONS.get(order.poison, {})


async def serve() -> None:
    log = Log()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(log), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve())
