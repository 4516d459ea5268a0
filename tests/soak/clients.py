"""Thousands of clients in one process: each sends one request over its own connection and records the result."""

import asyncio
import json
import math
import socket
import struct
import time
from dataclasses import dataclass

from tests.soak.request_plan import RequestPlan

PATH = "/api/v1/messages"
READ_BYTES = 65_536
CLIENT_TIMEOUT_S = 300.0
LAST_CHUNK = b"\r\n0\r\n\r\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Disconnect:
    """When a client disconnects after it sent its request, and how: `close`, `half-close` or `reset`."""

    after_s: float
    how: str


@dataclass(kw_only=True, slots=True)
class ClientResult:
    """The result of one client. Times are those of the machine's monotonic clock."""

    id: str
    started_at: float = 0.0
    sent_at: float = math.inf
    """When the whole request was written. A request that is still connecting may meet a server that has stopped."""
    first_at: float | None = None
    ended_at: float = 0.0
    disconnected_at: float | None = None
    status: int | None = None
    """None: no response headers arrived."""
    retry_after: str | None = None
    events: int = 0
    is_done: bool = False
    """The response is complete: `[DONE]` of a stream, or a plain response with status 200."""
    error_type: str = ""
    """The type of an error response or of a stream's error event."""
    connection_error: str = ""
    """How the connection failed: `refused`, `reset`, or `cut` for a body that ended early."""

    @property
    def took_s(self) -> float:
        return self.ended_at - self.started_at


async def send(
    port: int,
    raw_key: str,
    plan: RequestPlan,
    *,
    disconnect: Disconnect | None = None,
    bytes_per_s: int | None = None,
    headers: dict[str, str] | None = None,
    model: str = "soak",
) -> ClientResult:
    """Send one request and read its response, completely or until the disconnect."""
    result = ClientResult(id=plan.id, started_at=time.monotonic())
    with socket.socket() as sock:
        sock.setblocking(False)
        if bytes_per_s is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        try:
            async with asyncio.timeout(CLIENT_TIMEOUT_S if disconnect is None else disconnect.after_s):
                await _send(sock, port, _request(raw_key, plan, headers or {}, model), result, bytes_per_s)
        except TimeoutError:
            if disconnect is None:
                raise
            await _disconnect(sock, result, disconnect.how)
        except ConnectionRefusedError:
            result.connection_error = "refused"
        except OSError:
            result.connection_error = "reset"
    result.ended_at = time.monotonic()
    return result


def _request(raw_key: str, plan: RequestPlan, headers: dict[str, str], model: str) -> bytes:
    body = plan.body(model=model)
    head = {
        "Host": "127.0.0.1",
        "Authorization": f"Bearer {raw_key}",
        "X-Request-ID": plan.id,
        "Content-Length": str(len(body)),
        "Connection": "close",
    }
    lines = [f"POST {PATH} HTTP/1.1", *(f"{name}: {value}" for name, value in (head | headers).items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


async def _send(sock: socket.socket, port: int, request: bytes, result: ClientResult, bytes_per_s: int | None) -> None:
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, ("127.0.0.1", port))
    await loop.sock_sendall(sock, request)
    result.sent_at = time.monotonic()
    received = bytearray()
    try:
        while not _is_whole(received):
            piece = await loop.sock_recv(sock, bytes_per_s or READ_BYTES)
            if not piece:
                result.connection_error = "cut"
                break
            result.first_at = result.first_at or time.monotonic()
            received += piece
            if bytes_per_s is not None:
                await asyncio.sleep(1)
    finally:
        _read(bytes(received), result)


def _is_whole(received: bytearray) -> bool:
    """Whether the response is complete according to its headers."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return False
    head = bytes(received[:end]).lower()
    if b"transfer-encoding: chunked" in head:
        return len(received) > end + 4 and received.endswith(LAST_CHUNK)
    length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
    return len(received) >= end + 4 + length


def _read(received: bytes, result: ClientResult) -> None:
    head, mark, body = received.partition(b"\r\n\r\n")
    if not mark:
        return
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    result.status = int(lines[0].split()[1])
    result.retry_after = headers.get("retry-after")
    if "text/event-stream" in headers.get("content-type", ""):
        result.events = body.count(b"data: {")
        result.is_done = b"data: [DONE]" in body
        result.error_type = _error_type(body[body.find(b'{"error"') :]) if b'{"error"' in body else ""
    elif not result.connection_error:
        result.is_done = result.status == 200
        result.error_type = _error_type(body)


def _error_type(body: bytes) -> str:
    """Return the error type of the first JSON object in a body, which may be chunked."""
    try:
        decoded, _ = json.JSONDecoder().raw_decode(body[body.find(b"{") :].decode())
    except ValueError:
        return ""
    return str(((decoded.get("data") or decoded).get("error") or {}).get("type", ""))


async def _disconnect(sock: socket.socket, result: ClientResult, how: str) -> None:
    result.disconnected_at = time.monotonic()
    if how == "reset":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if how == "half-close":
        sock.shutdown(socket.SHUT_WR)
        await asyncio.sleep(2)  # the client would continue to read


@dataclass(frozen=True, kw_only=True, slots=True)
class HealthCheck:
    """One request to `/livez` or `/readyz`."""

    path: str
    at: float
    took_s: float
    status: int | None
    """None: no response."""


async def check_health(port: int, path: str) -> HealthCheck:
    """Request a health page."""
    at = time.monotonic()
    status = None
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setblocking(False)
        try:
            async with asyncio.timeout(30):
                await loop.sock_connect(sock, ("127.0.0.1", port))
                await loop.sock_sendall(sock, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
                status = int((await loop.sock_recv(sock, READ_BYTES)).split()[1])
        except (OSError, IndexError):
            pass
    return HealthCheck(path=path, at=at, took_s=time.monotonic() - at, status=status)
