"""Lean upstream for thousands of streams: one thread, no scripts, a minimum of Chat Completions, and a request log.

It runs in its own process (`python -m tests.soak.upstream`), prints its port, and ends when its stdin is closed. Each
request contains its plan (`request_plan.RequestPlan`). The log is the reference for the ledger: `GET /log`, `/clear`,
`/open`. Times are those of the machine's monotonic clock, which all processes share.
"""

import asyncio
import json
import socket
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

from tests.soak.request_plan import RequestPlan

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
PROMPT_TOKENS = 9


@dataclass(kw_only=True, slots=True)
class ServedRequest:
    """One request, as seen by the upstream."""

    id: str
    started_at: float
    ended_at: float | None = None
    disconnected_at: float | None = None
    """When the peer disconnected, if it did before the end."""
    events: int = 0
    sent_bytes: int = 0


class Log:
    """All requests in the order of their arrival, and the open connections."""

    def __init__(self) -> None:
        self.requests: list[ServedRequest] = []
        self.open: set[asyncio.Protocol] = set()

    def response(self, path: str) -> Any:
        if path == "/clear":
            self.requests.clear()
        if path == "/open":
            return len(self.open) - 1  # without the connection of this request
        return [asdict(request) for request in self.requests]


class UpstreamConnection(asyncio.Protocol):
    """One accepted connection: sequential requests until the peer disconnects."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._received = b""
        self._plan: RequestPlan | None = None
        self._request: ServedRequest | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._next_at = 0.0
        self._is_paused = False

    # ---- callbacks of asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._transport.set_write_buffer_limits(high=16_384)
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)  # so that sent bytes have been read by the gateway
        self._log.open.add(self)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._plan is None:
            self._serve_next()

    def eof_received(self) -> None:
        self._disconnect()

    def connection_lost(self, error: Exception | None) -> None:
        self._disconnect()
        self._log.open.discard(self)

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        if self._plan is not None and self._timer is None:
            self._continue()

    def _disconnect(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._request is not None and self._request.ended_at is None:
            self._request.disconnected_at = self._request.disconnected_at or time.monotonic()
        self._plan = None

    # ---- requests

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
            self._send_json(self._log.response(lines[0].split()[1]))
        else:
            self._start(RequestPlan.of(json.loads(rest[:length])))

    def _start(self, plan: RequestPlan) -> None:
        self._plan = plan
        self._request = ServedRequest(id=plan.id, started_at=time.monotonic())
        self._log.requests.append(self._request)
        if not plan.streamed:
            self._timer = asyncio.get_running_loop().call_later(plan.duration_s, self._respond)
            return
        self._next_at = time.monotonic() + plan.first_event_after_s
        self._continue()

    def _respond(self) -> None:
        plan = self._plan
        assert plan is not None and self._request is not None
        message = {"role": "assistant", "content": "x" * plan.characters * plan.events}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        response = _envelope("chat.completion", plan) | {"choices": [choice], "usage": _usage(plan)}
        self._send_json(_poisoned(response, plan))
        self._request.events = plan.events
        self._end()

    def _continue(self) -> None:
        """Send the events that are due, and schedule the next one."""
        self._timer = None
        plan, served = self._plan, self._request
        assert plan is not None and served is not None
        while not self._is_paused:
            wait_s = self._next_at - time.monotonic()
            if wait_s > 0:
                self._timer = asyncio.get_running_loop().call_later(wait_s, self._continue)
                return
            if served.events == 0:
                self._write(HEAD)
            if served.events == plan.events:
                self._finish(plan)
                return
            served.events += 1
            self._next_at += plan.every_s
            self._chunk(_poisoned(_text(plan, "x" * plan.characters), plan))

    def _finish(self, plan: RequestPlan) -> None:
        stop = {"index": 0, "delta": {}, "finish_reason": "stop"}
        usage = {"choices": [], "usage": _usage(plan)}
        for values in ({"choices": [stop]}, usage):
            self._chunk(_poisoned(_envelope("chat.completion.chunk", plan) | values, plan))
        self._write(_chunked(b"data: [DONE]\n\n") + b"0\r\n\r\n")
        self._end()

    def _end(self) -> None:
        assert self._request is not None
        self._request.ended_at = time.monotonic()
        self._plan = self._timer = None
        self._serve_next()

    # ---- bytes

    def _chunk(self, values: dict[str, Any]) -> None:
        self._write(_chunked(b"data: " + json.dumps(values).encode() + b"\n\n"))

    def _send_json(self, values: Any) -> None:
        body = json.dumps(values).encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        self._write(head.encode() + body)

    def _write(self, data: bytes) -> None:
        if self._request is not None:
            self._request.sent_bytes += len(data)
        self._transport.write(data)


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _envelope(kind: str, plan: RequestPlan) -> dict[str, Any]:
    return {"id": f"chatcmpl-{plan.id}", "object": kind, "created": 1767225600, "model": "soak"}


def _text(plan: RequestPlan, text: str) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return _envelope("chat.completion.chunk", plan) | {"choices": [choice]}


def _usage(plan: RequestPlan) -> dict[str, Any]:
    return {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": plan.events}


def _poisoned(values: Any, plan: RequestPlan) -> Any:
    """Replace the value at the plan's path, where the path leads into these values."""
    if not plan.poison:
        return values
    path, value = json.loads(plan.poison)
    found = values
    for name in path[:-1]:
        found = found[name] if _has(found, name) else None
    if isinstance(found, dict) or _has(found, path[-1]):
        found[path[-1]] = value
    return values


def _has(values: Any, name: str | int) -> bool:
    if isinstance(values, list):
        return isinstance(name, int) and name < len(values)
    return isinstance(values, dict) and name in values


async def serve() -> None:
    log = Log()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: UpstreamConnection(log), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve())
