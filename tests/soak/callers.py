"""Callers by the thousand in one process: each sends one call over a connection of its own and notes what it sees."""

import asyncio
import json
import socket
import struct
import time
from dataclasses import dataclass

from tests.soak.orders import Order

PATH = "/api/v1/messages"
READ_BYTES = 65_536
GIVE_UP_S = 300.0
LAST_CHUNK = b"\r\n0\r\n\r\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Leaving:
    """How a caller leaves: so long after it has sent its call, by `close`, `half-close` or `reset`."""

    after_s: float
    how: str


@dataclass(kw_only=True, slots=True)
class Visit:
    """What one caller saw. Moments are those of the machine's monotonic clock."""

    id: str
    sent_at: float = 0.0
    first_at: float | None = None
    ended_at: float = 0.0
    left_at: float | None = None
    status: int | None = None
    """None while no head of an answer came."""
    retry_after: str | None = None
    events: int = 0
    is_done: bool = False
    """The end mark came: `[DONE]` of a stream, or a whole plain answer of status 200."""
    error_type: str = ""
    """What an error, or the error event of a stream, said."""
    broke: str = ""
    """How the connection failed: `refused`, `reset`, or `cut` for an end without an end of the body."""

    @property
    def took_s(self) -> float:
        return self.ended_at - self.sent_at


async def call(
    port: int,
    raw_key: str,
    order: Order,
    *,
    leaving: Leaving | None = None,
    bytes_per_s: int | None = None,
    headers: dict[str, str] | None = None,
    model: str = "soak",
) -> Visit:
    """Make one call and see it to its end, or until it is left."""
    visit = Visit(id=order.id, sent_at=time.monotonic())
    with socket.socket() as sock:
        sock.setblocking(False)
        if bytes_per_s is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        try:
            async with asyncio.timeout(GIVE_UP_S if leaving is None else leaving.after_s):
                await _call(sock, port, _request(raw_key, order, headers or {}, model), visit, bytes_per_s)
        except TimeoutError:
            if leaving is None:
                raise
            await _leave(sock, visit, leaving.how)
        except ConnectionRefusedError:
            visit.broke = "refused"
        except OSError:
            visit.broke = "reset"
    visit.ended_at = time.monotonic()
    return visit


def _request(raw_key: str, order: Order, headers: dict[str, str], model: str) -> bytes:
    body = order.body(model=model)
    head = {
        "Host": "127.0.0.1",
        "Authorization": f"Bearer {raw_key}",
        "X-Request-ID": order.id,
        "Content-Length": str(len(body)),
        "Connection": "close",
    }
    lines = [f"POST {PATH} HTTP/1.1", *(f"{name}: {value}" for name, value in (head | headers).items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


async def _call(sock: socket.socket, port: int, request: bytes, visit: Visit, bytes_per_s: int | None) -> None:
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, ("127.0.0.1", port))
    await loop.sock_sendall(sock, request)
    received = bytearray()
    try:
        while not _is_whole(received):
            piece = await loop.sock_recv(sock, bytes_per_s or READ_BYTES)
            if not piece:
                visit.broke = "cut"
                break
            visit.first_at = visit.first_at or time.monotonic()
            received += piece
            if bytes_per_s is not None:
                await asyncio.sleep(1)
    finally:
        _read(bytes(received), visit)


def _is_whole(received: bytearray) -> bool:
    """Whether the answer has come to the end that its head announced."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return False
    head = bytes(received[:end]).lower()
    if b"transfer-encoding: chunked" in head:
        return len(received) > end + 4 and received.endswith(LAST_CHUNK)
    length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
    return len(received) >= end + 4 + length


def _read(received: bytes, visit: Visit) -> None:
    head, mark, body = received.partition(b"\r\n\r\n")
    if not mark:
        return
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    visit.status = int(lines[0].split()[1])
    visit.retry_after = headers.get("retry-after")
    if "text/event-stream" in headers.get("content-type", ""):
        visit.events = body.count(b"data: {")
        visit.is_done = b"data: [DONE]" in body
        visit.error_type = _error_type(body[body.find(b'{"error"') :]) if b'{"error"' in body else ""
    elif not visit.broke:
        visit.is_done = visit.status == 200
        visit.error_type = _error_type(body)


def _error_type(body: bytes) -> str:
    """The type in the first JSON object of a body, which may be one of several chunks."""
    try:
        said, _ = json.JSONDecoder().raw_decode(body[body.find(b"{") :].decode())
    except ValueError:
        return ""
    return str(((said.get("data") or said).get("error") or {}).get("type", ""))


async def _leave(sock: socket.socket, visit: Visit, how: str) -> None:
    visit.left_at = time.monotonic()
    if how == "reset":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if how == "half-close":
        sock.shutdown(socket.SHUT_WR)
        await asyncio.sleep(2)  # it would go on reading


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """One look at `/livez` or `/readyz`."""

    path: str
    at: float
    took_s: float
    status: int | None
    """None where nobody answered."""


async def look(port: int, path: str) -> Look:
    """Ask for a page that needs no key."""
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
    return Look(path=path, at=at, took_s=time.monotonic() - at, status=status)
