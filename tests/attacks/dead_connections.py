"""Connections that hold a server without using it: silent, dribbling, idle, and those that read no response."""

import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

RECEIVE_BUFFER_BYTES = 4096
DRIBBLE_EVERY_S = 0.5
LARGE_FILE = "/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js"  # 1.4 MB
FILLER = "/static/admin/js/vendor/xregexp/xregexp.js"  # 325 KB; the buffers of a connection hold 379 KB


def get(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *headers, "", ""]).encode()


def post(path: str, *, length: int) -> bytes:
    """Return the head of a request whose body does not follow."""
    head = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/x-www-form-urlencoded"]
    head += [f"Cookie: csrftoken={'a' * 32}", f"Content-Length: {length}"]  # the form is read to compare the token
    return "\r\n".join([*head, "", ""]).encode()


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """What a dead connection sends: `first`, then one byte at a time of `dribbled`."""

    first: bytes = b""
    dribbled: bytes = b""


KINDS = {
    "silent": Kind(),
    "dribbled head": Kind(first=b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ", dribbled=b"a"),
    "idle after a response": Kind(first=get("/livez")),
    "unread static file": Kind(first=get(LARGE_FILE)),
    "unread pages": Kind(first=get(FILLER) + get("/admin/login/", f"Cookie: sessionid={'a' * 32}") * 30),
    "page without its body": Kind(first=post("/admin/login/", length=100_000)),
    "page with a dribbled body": Kind(first=post("/admin/login/", length=100_000), dribbled=b"a"),
    "API request without its body": Kind(first=post("/api/v1/messages", length=100_000)),
    "unread API responses": Kind(first=get("/api/v1/key") * 20),
}


class Flood:
    """Context manager that holds a number of dead connections of one kind to a port of this machine."""

    def __init__(self, port: int, kind: Kind, count: int) -> None:
        self._port = port
        self._kind = kind
        self._count = count
        self._connections: list[socket.socket] = []
        self._closed = threading.Event()
        self._dribbler = threading.Thread(target=self._dribble, daemon=True)

    def __enter__(self) -> Self:
        for _ in range(self._count):
            self._connections.append(self._open())
        self._dribbler.start()
        return self

    def __exit__(self, *_: type[BaseException] | TracebackType | BaseException | None) -> None:
        self._closed.set()
        self._dribbler.join()
        for connection in self._connections:
            connection.close()

    def _open(self) -> socket.socket:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        connection.setblocking(False)
        connection.connect_ex(("127.0.0.1", self._port))
        connection.setblocking(True)
        connection.settimeout(10)
        with suppress(OSError):  # the server has closed it
            connection.sendall(self._kind.first)
        connection.setblocking(False)
        return connection

    def _dribble(self) -> None:
        while self._kind.dribbled and not self._closed.wait(DRIBBLE_EVERY_S):
            for connection in self._connections:
                with suppress(OSError):
                    connection.send(self._kind.dribbled)
