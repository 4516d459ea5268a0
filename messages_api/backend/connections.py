"""HTTP connections to upstreams: one connect timeout over all IP addresses, interim responses, socket access."""

import contextlib
import http
import http.client
import math
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError

from lib.threads import Background

MAX_INTERIM_RESPONSES = 16  # with status 1xx, before the final response


class ExchangeSocket:
    """The socket of one exchange and the deadline of its current phase. Any thread can abort it at any time.

    The state is here and not in the exchange, so that connections do not call back into the exchange that uses them.
    """

    def __init__(self, *, first_byte_timeout_s: float) -> None:
        self._first_byte_timeout_s = first_byte_timeout_s
        self.sock: socket.socket | None = None
        self.abort_error: Exception | None = None
        self.phase_expires_at = math.inf
        """Monotonic time."""
        self.was_sent = False
        """Whether the request may have been sent: there was a connection."""

    def attach(self, sock: socket.socket | None) -> None:
        """Set the socket that the request is about to be sent on. Raise the error of an earlier abort."""
        self.sock = sock
        if self.abort_error is not None:
            raise self.abort_error
        self.phase_expires_at = time.monotonic() + self._first_byte_timeout_s
        self.was_sent = True

    def abort(self, error: Exception) -> None:
        """Shut the socket down, now or when it is attached. The first error is the one that readers get."""
        if self.abort_error is None:
            self.abort_error = error
        # Unlike close, shutdown wakes a reader, in another greenlet as well as in another thread.
        if self.sock is not None:
            with contextlib.suppress(OSError, ValueError):
                self.sock.shutdown(socket.SHUT_RDWR)


class _Current(threading.local):
    socket: ExchangeSocket | None = None


current = _Current()
"""The exchange that the running thread sends."""


class _Connecting:
    """A connection being opened. `abandon()` closes the socket, whether it exists already or not."""

    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._sock: socket.socket | None = None
        self._is_abandoned = False

    def __call__(self) -> socket.socket:
        sock = self._connect()
        with self._lock:
            self._sock = sock
            if self._is_abandoned:
                sock.close()
        return sock

    def abandon(self) -> None:
        with self._lock:
            self._is_abandoned = True
            if self._sock is not None:
                self._sock.close()


class _FinalResponse(http.client.HTTPResponse):
    """A response that skips the interim responses before it (RFC 9110, 15.2).

    http.client takes any of them except 100 for the final response, and the final response for that of the next
    request.
    """

    def _read_status(self) -> tuple[str, int, str]:
        for _ in range(MAX_INTERIM_RESPONSES):
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if status not in range(100, 200) or status == http.HTTPStatus.SWITCHING_PROTOCOLS:
                return version, status, reason
            http.client.parse_headers(self.fp)
        raise http.client.BadStatusLine("too many interim responses")


class _Tracked:
    """Mixin: attach the socket to the current exchange, and enforce the connect timeout."""

    sock: socket.socket | None
    timeout: Any
    response_class: Any = _FinalResponse

    def _new_conn(self) -> socket.socket:
        """Connect within one timeout: urllib3 applies it to each IP address, and not to the lookup."""
        connecting = _Connecting(super()._new_conn)  # type: ignore[misc]
        attempt = Background(connecting)
        if attempt.wait(self.timeout):
            return attempt.result()
        connecting.abandon()
        raise ConnectTimeoutError(self, "not connected in time")

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        _attach(self.sock)

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None:
            _attach(self.sock)
        super().request(*args, **kwargs)  # type: ignore[misc]


def _attach(sock: socket.socket | None) -> None:
    if current.socket is not None:
        current.socket.attach(sock)


class _Connection(_Tracked, HTTPConnection):
    pass


class _SecureConnection(_Tracked, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


POOLS = {"http": _Pool, "https": _SecurePool}
"""The value for `PoolManager.pool_classes_by_scheme`."""
