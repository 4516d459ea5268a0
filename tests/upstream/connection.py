"""An accepted connection that can break HTTP and detects when the peer disconnects."""

import contextlib
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

# Only Linux distinguishes a peer's FIN from readable bytes. Elsewhere any readable data during a wait counts as a
# disconnect, which is correct for clients that do not pipeline.
_PEER_DISCONNECTED = getattr(select, "POLLRDHUP", select.POLLIN)
_READ_BYTES = 65536
Result = TypeVar("Result")


class PeerDisconnected(Exception):
    """The peer closed, half-closed or reset the connection: `outcome` is which, `at` is when it was detected."""

    def __init__(self, outcome: str) -> None:
        super().__init__(outcome)
        self.outcome = outcome
        self.at = time.monotonic()


class Stopped(Exception):
    """The server is closing: threads must stop waiting."""


class Connection:
    """Send, receive and wait on a socket from one thread. Only `interrupt` may be called from another."""

    def __init__(self, sock: socket.socket, *, stopping: threading.Event, tls: ssl.SSLContext | None = None) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False) if tls else sock
        self._stopping = stopping
        self.sent_bytes = 0
        self.persists = True
        """Whether another request may follow on this connection."""
        self.is_closed = False

    def handshake(self) -> None:
        """Complete the TLS handshake, if TLS is used. Raise PeerDisconnected if the peer aborts it."""
        sock = self._sock
        if isinstance(sock, ssl.SSLSocket):
            self._as_soon_as_possible(sock.do_handshake, select.POLLIN)

    def send(self, data: bytes) -> None:
        """Send all bytes and wait while the peer does not read. Raise PeerDisconnected if they cannot be sent."""
        view = memoryview(data)
        while view:
            count = self._as_soon_as_possible(partial(self._sock.send, view), select.POLLOUT)
            self.sent_bytes += count
            view = view[count:]

    def receive(self) -> bytes:
        """Return the next bytes; empty at the peer's end of data."""
        data = self._as_soon_as_possible(partial(self._sock.recv, _READ_BYTES), select.POLLIN)
        if self._stopping.is_set():
            raise Stopped
        return data

    def _as_soon_as_possible(self, action: Callable[[], Result], events: int) -> Result:
        """Retry the action until the socket is ready. A poll alone would miss bytes that TLS has buffered."""
        while True:
            try:
                return action()
            except BlockingIOError:
                self._poll(events, None)
            except ssl.SSLWantReadError:
                self._poll(select.POLLIN, None)
            except ssl.SSLWantWriteError:
                self._poll(select.POLLOUT, None)
            except OSError as error:
                raise self._disconnect(error) from error

    def wait(self, seconds: float | None) -> None:
        """Wait that long, or forever. Raise PeerDisconnected as soon as the peer disconnects.

        A half-close cannot be distinguished from a close: a peer that has sent its FIN counts as disconnected.
        """
        if not self._poll(_PEER_DISCONNECTED, seconds):
            return
        number = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        raise PeerDisconnected("peer_reset" if number else "peer_closed")

    def half_close(self) -> None:
        """Send a FIN. The peer can still send, and reads the end of the data."""
        self.persists = False
        self._shut(socket.SHUT_WR)

    def reset_on_close(self) -> None:
        """Make the next close a RST instead of a FIN; undelivered bytes are lost."""
        with contextlib.suppress(OSError):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def close(self) -> None:
        self.persists = False
        self.is_closed = True
        self._sock.close()

    def interrupt(self, how: int = socket.SHUT_RDWR) -> None:
        """Wake the thread that waits on this socket. A close would leave that thread in its poll forever."""
        self._shut(how)

    def _shut(self, how: int) -> None:
        # The method of the plain socket: that of TLS would remove the keys from the thread that still reads.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._sock, how)

    def _poll(self, events: int, seconds: float | None) -> bool:
        poll = select.poll()
        poll.register(self._sock, events)
        is_ready = bool(poll.poll(None if seconds is None else seconds * 1000))
        if self._stopping.is_set():
            raise Stopped
        return is_ready

    def _disconnect(self, error: OSError) -> Exception:
        if self._stopping.is_set():
            return Stopped()
        return PeerDisconnected("peer_reset" if isinstance(error, ConnectionResetError) else "peer_closed")
