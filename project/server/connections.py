"""Connections of a worker: deadlines for slow clients, and separate budgets for the API and for pages."""

import math
import os
import socket
import struct
import time
from collections import OrderedDict
from contextlib import suppress
from enum import Enum
from typing import Any

from django.conf import settings
from gunicorn import util

PIECE_BYTES = 64 * 1024
"""A client must accept each piece of a response within `CLIENT_SEND_TIMEOUT_S`: 1 KB/s with the default."""
STREAM_MARGIN_S = 1.0  # the watcher comes first: it ends a stream and records that its client timed out
REPLACED_AFTER_S = 2.0
"""How long a worker that has no capacity waits for a client before another request takes its place."""


class Kind(Enum):
    """Kind of request with a budget of its own."""

    API = "API requests (MAX_API_REQUESTS)"
    PAGE = "page requests (MAX_PAGE_REQUESTS)"


def kind_of(path: str) -> Kind | None:
    """Return the kind of a request; None for health checks, which are always served."""
    if path in ("/livez", "/readyz"):
        return None
    if path.startswith("/api/") and not path.startswith(("/api/docs", "/api/schema")):
        return Kind.API
    return Kind.PAGE


class Connection:
    """The socket of a client, as gunicorn uses it, with the time that it spends waiting for the client.

    The client must send the head of a request within `idle_timeout_s`, whatever part of it has arrived.
    """

    __slots__ = (
        "_body_since",
        "_idle_since",
        "_idle_timeout_s",
        "_is_reading",
        "_socket",
        "expires_at",
        "is_over_capacity",
        "kind",
        "waits_since",
    )

    def __init__(self, client: socket.socket, *, idle_timeout_s: float) -> None:
        self._socket = client
        self._idle_timeout_s = idle_timeout_s
        self._idle_since = time.monotonic()
        self._is_reading = False
        self._body_since: float | None = None
        self.kind: Kind | None = None
        """The kind of the request in progress; None between requests and during a health check."""
        self.is_over_capacity = False
        """Whether the request in progress is to be rejected, because too many of its kind are in progress."""
        self.waits_since = math.inf
        """When the worker began to wait for the client during a request; infinite while it does not wait."""
        self.expires_at = math.inf

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def recv(self, size: int) -> bytes:
        if self.kind is None:
            self.expires_at = self._idle_since + self._idle_timeout_s
            if time.monotonic() >= self.expires_at:
                return b""  # data may still arrive after `end_reading`
        else:
            if self._body_since is None:
                self._body_since = time.monotonic()
            self.waits_since = self._body_since
            self.expires_at = self._body_since + settings.CLIENT_BODY_TIMEOUT_S
        self._is_reading = True
        try:
            return self._socket.recv(size)
        finally:
            self._is_reading = False
            self.waits_since = self.expires_at = math.inf

    def sendall(self, data: bytes) -> None:
        if len(data) <= PIECE_BYTES:
            self._send(data)
            return
        view = memoryview(data)
        for start in range(0, len(view), PIECE_BYTES):
            self._send(view[start : start + PIECE_BYTES])

    def _send(self, piece: bytes | memoryview) -> None:
        self.waits_since = time.monotonic()
        self.expires_at = self.waits_since + settings.CLIENT_SEND_TIMEOUT_S + STREAM_MARGIN_S
        try:
            sent = self._socket.send(piece)
            if sent < len(piece):
                self._socket.sendall(memoryview(piece)[sent:])
        finally:
            self.waits_since = self.expires_at = math.inf

    def close(self) -> None:
        """Close the connection. After a rejection, read what the client still sends: a reset would overtake it."""
        if self.is_over_capacity:
            util.close_graceful(self._socket)
        else:
            self._socket.close()

    def begin(self, kind: Kind | None) -> None:
        """Note the begin of a request; `kind` is None for one without a budget."""
        self.kind = kind
        self._body_since = None
        self._idle_since = time.monotonic()

    def end(self) -> None:
        """Note the end of a request, and wait for the next one from now on."""
        self.kind = None
        self._idle_since = time.monotonic()

    def end_reading(self) -> None:
        """End the wait for data of the client. A response can still be sent."""
        self._shut_down(socket.SHUT_RD)

    def disconnect(self) -> None:
        """End every wait for the client: the greenlet that serves it closes the connection."""
        self._shut_down(socket.SHUT_RDWR)

    def reset(self) -> None:
        """Disconnect a client that does not read, and drop what was not sent: the kernel would hold it for minutes."""
        with suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.disconnect()

    def _shut_down(self, direction: int) -> None:
        # On a duplicate of the socket: gevent raises an error in the greenlet that waits on the socket itself.
        with suppress(OSError), socket.socket(fileno=os.dup(self._socket.fileno())) as duplicate:
            duplicate.shutdown(direction)

    def expire(self) -> None:
        """End the wait whose deadline has passed. A body that ended early still gets a response."""
        if self._is_reading:
            self.end_reading()
        else:
            self.reset()


class Connections:
    """The connections of a worker.

    A connection is idle between requests, until the head of a request is complete, and while it gets a response that
    needs no budget. If there are too many connections, the one that has been idle longest is closed. `total` exceeds
    the sum of the budgets, so one is always idle.

    If too many requests of a kind are in progress, the one that has waited longest for its client, if any has waited
    for `REPLACED_AFTER_S`, is disconnected; otherwise the new request is rejected.
    """

    def __init__(self, *, total: int, budgets: dict[Kind, int]) -> None:
        self._total = total
        self._budgets = budgets
        self._idle: OrderedDict[Connection, None] = OrderedDict()
        self._busy: dict[Kind, set[Connection]] = {kind: set() for kind in budgets}
        self._closed: dict[str, int] = {}
        """What was closed or rejected since the last report."""

    @property
    def idle(self) -> list[Connection]:
        return list(self._idle)

    def __len__(self) -> int:
        return len(self._idle) + sum(map(len, self._busy.values()))

    def add(self, connection: Connection) -> None:
        """Add a new connection. Close the one that has been idle longest if there are too many."""
        self._idle[connection] = None
        if len(self) > self._total:
            oldest, _ = self._idle.popitem(last=False)
            oldest.disconnect()
            self._count("idle connections closed (MAX_CONNECTIONS)")

    def remove(self, connection: Connection) -> None:
        self._idle.pop(connection, None)
        for busy in self._busy.values():
            busy.discard(connection)

    def begin(self, connection: Connection, kind: Kind | None) -> None:
        """Register a request. Sets `is_over_capacity` if it must be rejected."""
        connection.is_over_capacity = kind is not None and not self._has_room(kind)
        if kind is None or connection.is_over_capacity:
            connection.begin(None)
            return
        self._idle.pop(connection, None)
        self._busy[kind].add(connection)
        connection.begin(kind)

    def end(self, connection: Connection) -> None:
        """Register the end of a request: the connection is idle until the next one."""
        self.remove(connection)
        connection.end()
        self._idle[connection] = None

    def _has_room(self, kind: Kind) -> bool:
        busy = self._busy[kind]
        if len(busy) < self._budgets[kind]:
            return True
        slowest = min(busy, key=lambda connection: connection.waits_since)
        if time.monotonic() - slowest.waits_since < REPLACED_AFTER_S:
            self._count(f"{kind.value} rejected")
            return False
        busy.discard(slowest)
        slowest.reset()
        self._count(f"{kind.value} of slow clients ended")
        return True

    def check_deadlines(self) -> None:
        """End the waits whose deadline has passed."""
        now = time.monotonic()
        for connection in [*self._idle, *(connection for busy in self._busy.values() for connection in busy)]:
            if now >= connection.expires_at:
                connection.expire()

    def _count(self, event: str) -> None:
        self._closed[event] = self._closed.get(event, 0) + 1

    def report(self) -> str:
        """Return what was closed or rejected since the last report, for the log; empty if nothing."""
        closed, self._closed = self._closed, {}
        return ", ".join(f"{count} {event}" for event, count in closed.items())
