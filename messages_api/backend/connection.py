"""One connection to an upstream: bytes out and in, over TCP or TLS, each up to a deadline."""

import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Any

from lib.pace import Turn
from lib.readiness import readiness

READ_BYTES = 65_536
TLS_WRITE_BYTES = 65_536
"""How much of a body is encrypted in one step: the encrypted bytes are kept until they are sent."""


class UpstreamConnection:
    """A connected socket that never blocks the thread. `close()` must be called, `shutdown` may be at any time."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._readiness = readiness(sock)
        self._may_have_more = False
        """Whether the last read was full, so that more bytes have probably arrived."""
        self.idle_since = 0.0
        """When the pool got the connection back, as a monotonic time."""

    def send(self, data: bytes, *, until: float) -> None:
        """Send all bytes. Raise TimeoutError at the monotonic time `until`, and OSError."""
        view = memoryview(data)
        while view:
            try:
                view = view[self._sock.send(view) :]
            except BlockingIOError:
                if not self._readiness.wait_write(until):
                    raise TimeoutError from None

    def receive(self, turn: Turn, *, until: float) -> bytes | None:
        """Return the next bytes, empty at their end, or None at the monotonic time `until`. Raise OSError.

        A read that waits gives others their turn. A read of bytes that have arrived does so when the turn was long:
        an upstream that sends faster than it is read would hold the worker.
        """
        is_late = False
        while True:
            if self._may_have_more:
                turn.step()
            else:
                is_late = not self._readiness.wait_read(until)
                turn.restart()
            try:
                received = self._sock.recv(READ_BYTES)
            except BlockingIOError:
                self._may_have_more = False
                if is_late:  # looked once more: a busy loop sees its timers before its sockets
                    return None
                continue
            self._may_have_more = len(received) == READ_BYTES
            return received

    @property
    def is_quiet(self) -> bool:
        """Whether the idle connection can serve a request: the upstream has neither closed it nor sent bytes."""
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def watch_idle(self, on_end: Callable[[], None] | None) -> None:
        """Call `on_end` as soon as the idle connection can serve no request any more; no longer with None.

        Only a worker notices by itself. It calls `on_end` in its loop, where nothing may wait.
        """
        self._readiness.watch_idle(on_end)

    def shutdown(self) -> None:
        """End the connection. Unlike `close`, this wakes a reader, in another greenlet as well as in another thread."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._readiness.close()
        self._sock.close()


class TlsConnection(UpstreamConnection):
    """A connection with TLS in memory, so that waits, deadlines and aborts are those of the plain socket."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, *, server_hostname: str) -> None:
        super().__init__(sock)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)

    def handshake(self, turn: Turn, *, until: float) -> None:
        """Negotiate, and verify the certificate. Raise ssl.SSLError, TimeoutError or OSError."""
        try:
            is_done = self._run(self._do_handshake, turn, until)
        except ssl.SSLError:
            with contextlib.suppress(OSError):
                self._flush(until)  # the alert that says why
            raise
        if not is_done:
            raise TimeoutError
        self._flush(until)

    def _do_handshake(self) -> bool:
        self._tls.do_handshake()
        return True

    def send(self, data: bytes, *, until: float) -> None:
        view, turn = memoryview(data), Turn()
        for start in range(0, len(view), TLS_WRITE_BYTES):
            piece = view[start : start + TLS_WRITE_BYTES]
            if self._run(lambda piece=piece: self._tls.write(piece), turn, until) is None:  # type: ignore[misc]
                raise TimeoutError
            self._flush(until)
            turn.step()

    def receive(self, turn: Turn, *, until: float) -> bytes | None:
        try:
            received: bytes | None = self._run(lambda: self._tls.read(READ_BYTES), turn, until)
        except ssl.SSLEOFError:  # many servers close without the alert; the framing shows what is missing
            return b""
        if self._outgoing.pending:
            self._flush(until)
        return received

    def _run(self, action: Callable[[], Any], turn: Turn, until: float) -> Any:
        """Return the result of an action, with the bytes that it needs; None at `until`."""
        while True:
            try:
                return action()
            except ssl.SSLWantReadError:
                self._flush(until)
            received = super().receive(turn, until=until)
            if received is None:
                return None
            if received:
                self._incoming.write(received)
            else:
                self._incoming.write_eof()

    def _flush(self, until: float) -> None:
        if encrypted := self._outgoing.read():
            super().send(encrypted, until=until)

    @property
    def is_quiet(self) -> bool:
        return not self._tls.pending() and not self._incoming.pending and super().is_quiet
