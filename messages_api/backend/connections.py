"""HTTP connections to upstreams: one connect timeout over all IP addresses, interim responses, socket access."""

import contextlib
import http
import http.client
import io
import math
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from lib.pace import Turn
from lib.threads import Background

MAX_INTERIM_RESPONSES = 16  # with status 1xx, before the final response
TURN_S = 0.25
READ_SLICE_S = 0.002  # for one stream while others wait: 50 upstreams that flood the worker delay the rest by 0.1 s
LONGEST_OPENING_S = 60.0  # of the socket itself: its timer does not distinguish a busy worker from a silent upstream


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
        self.turn = Turn(slice_s=READ_SLICE_S)
        """The turn of the greenlet that reads. It ends although data is always ready."""

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


class _Opening:
    """A connection being opened in the background: lookup, TCP and TLS within one timeout.

    urllib3 applies its timeout to each IP address, and not to the lookup.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._handle: socket.socket | None = None
        """A duplicate of the socket, which TLS takes over."""
        self._is_ended = False

    def connect(self, address: tuple[str, int], *, options: Sequence[tuple[int, int, int | bytes]]) -> socket.socket:
        """Connect to the first IP address of a host that accepts. Raise OSError."""
        error = OSError("the lookup returned no IP address")
        for family, kind, protocol, _, target in socket.getaddrinfo(*address, type=socket.SOCK_STREAM):
            sock = socket.socket(family, kind, protocol)
            try:
                for option in options:
                    sock.setsockopt(*option)
                self._hold(sock.dup())
                sock.settimeout(LONGEST_OPENING_S)
                sock.connect(target)
                if self._is_ended:
                    raise OSError("no longer wanted")
                return sock
            except OSError as failed:
                error = failed
                sock.close()
                if self._is_ended:
                    break
        raise error

    def _hold(self, handle: socket.socket) -> None:
        with self._lock:
            if self._handle is not None:
                self._handle.close()
            self._handle = handle
            if self._is_ended:
                handle.close()

    def wait(self, run: "Background[None]", timeout_s: float) -> bool:
        """Return whether the run ends in time.

        Time in which the worker is busy with other streams is not the upstream's: a turn of the loop counts as TURN_S,
        however long it takes, and a connection that exists by then gets a last turn. gevent runs expired timers before
        sockets that became ready in the same turn, so a busy worker with 600 streams blamed the upstream for all 39
        timeouts that were its own.
        """
        left_s = timeout_s
        while left_s > 0:
            if run.wait(min(TURN_S, left_s)):
                return True
            left_s -= TURN_S
        return self._is_connected() and run.wait(TURN_S)

    def _is_connected(self) -> bool:
        with self._lock, contextlib.suppress(OSError):
            return self._handle is not None and bool(self._handle.getpeername())
        return False

    def end(self) -> None:
        """Release the handle. What still waits for the connection fails."""
        with self._lock:
            self._is_ended = True
            if self._handle is not None:
                self._handle.close()

    def abandon(self) -> None:
        """Make the connect or the handshake that still waits fail."""
        with self._lock, contextlib.suppress(OSError):
            if self._handle is not None:
                self._handle.shutdown(socket.SHUT_RDWR)  # of a socket that connects, too


class _PacedReader(io.RawIOBase):
    """The bytes of a socket. A read of data that is already there gives others a turn when this one was long.

    gevent switches only when a read has to wait. An upstream that sends faster than it is read would hold the worker,
    also with bytes that no code of the gateway sees, such as endless trailers.
    """

    def __init__(self, raw: Any, turn: Turn) -> None:
        self._raw = raw
        self._turn = turn

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._turn.step()
        began = time.monotonic()
        received: int | None = self._raw.readinto(buffer)
        if time.monotonic() - began > READ_SLICE_S:
            self._turn.restart()  # it had to wait
        return received

    def close(self) -> None:
        self._raw.close()
        super().close()


class _PacedSocket:
    """What http.client reads a response from."""

    def __init__(self, sock: socket.socket, turn: Turn) -> None:
        self._sock = sock
        self._turn = turn

    def makefile(self, mode: str) -> io.BufferedReader:
        assert mode == "rb"
        return io.BufferedReader(_PacedReader(self._sock.makefile("rb", buffering=0), self._turn))


class _FinalResponse(http.client.HTTPResponse):
    """A response that skips the interim responses before it (RFC 9110, 15.2).

    http.client takes any of them except 100 for the final response, and the final response for that of the next
    request.
    """

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        turn = current.socket.turn if current.socket is not None else Turn(slice_s=READ_SLICE_S)
        super().__init__(_PacedSocket(sock, turn), *args, **kwargs)  # type: ignore[arg-type]

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
    socket_options: Any
    response_class: Any = _FinalResponse
    _opening: _Opening

    def _new_conn(self) -> socket.socket:
        try:
            return self._opening.connect((self._dns_host, self.port), options=self.socket_options)  # type: ignore[attr-defined]
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error  # type: ignore[attr-defined,arg-type]
        except (OSError, UnicodeError) as error:  # the latter for a label that is too long
            raise NewConnectionError(self, "the connection failed") from error  # type: ignore[arg-type]

    def connect(self) -> None:
        self._opening = _Opening()
        run = Background(super().connect)  # type: ignore[misc]
        try:
            if not self._opening.wait(run, self.timeout):
                self._opening.abandon()
                raise ConnectTimeoutError(self, "not connected in time")
            run.result()
        finally:
            self._opening.end()
        assert self.sock is not None
        self.sock.settimeout(self.timeout)
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
