"""One accepted socket. It can do what a well-behaved server never does, and it notices when the peer leaves."""

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

# Only Linux tells a peer's FIN apart from readable bytes. Elsewhere whatever becomes readable during a wait
# looks like a peer that left, which holds for callers that do not pipeline.
_PEER_DISCONNECTED = getattr(select, "POLLRDHUP", select.POLLIN)
_READ_BYTES = 65536
Result = TypeVar("Result")


class PeerDisconnected(Exception):
    """The peer closed, half-closed or reset the connection; `outcome` says which, `at` when it was noticed."""

    def __init__(self, outcome: str) -> None:
        super().__init__(outcome)
        self.outcome = outcome
        self.at = time.monotonic()


class Stopped(Exception):
    """The server is closing; whatever a thread waits for will not come."""


class Connection:
    """Send, receive and wait on a socket from one thread; only `interrupt` may be called from another."""

    def __init__(self, sock: socket.socket, *, stopping: threading.Event, tls: ssl.SSLContext | None = None) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False) if tls else sock
        self._stopping = stopping
        self.sent_bytes = 0
        self.persists = True
        """Whether another call may follow on this connection."""
        self.is_closed = False

    def handshake(self) -> None:
        """Agree with the peer on TLS, where that is spoken. Raise PeerLeft when the peer will not."""
        sock = self._sock
        if isinstance(sock, ssl.SSLSocket):
            self._as_soon_as_possible(sock.do_handshake, select.POLLIN)

    def send(self, data: bytes) -> None:
        """Send all of it, waiting for as long as the peer does not read. Raise PeerLeft when it can not be sent."""
        view = memoryview(data)
        while view:
            count = self._as_soon_as_possible(partial(self._sock.send, view), select.POLLOUT)
            self.sent_bytes += count
            view = view[count:]

    def receive(self) -> bytes:
        """Return what arrives next; empty bytes when the peer will send no more."""
        data = self._as_soon_as_possible(partial(self._sock.recv, _READ_BYTES), select.POLLIN)
        if self._stopping.is_set():
            raise Stopped
        return data

    def _as_soon_as_possible(self, action: Callable[[], Result], events: int) -> Result:
        """Try, and wait for the socket between the tries. TLS may hold bytes back that no poll sees, so try first."""
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
        """Be silent that long, or for ever. Raise PeerLeft at once when the peer leaves meanwhile.

        A half-close looks like a close from here, so a peer that has sent its FIN has left.
        """
        if not self._poll(_PEER_DISCONNECTED, seconds):
            return
        number = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        raise PeerDisconnected("peer_reset" if number else "peer_closed")

    def half_close(self) -> None:
        """Send a FIN; the peer can still send, and reads the end of the bytes."""
        self.persists = False
        self._shut(socket.SHUT_WR)

    def reset_on_close(self) -> None:
        """Let the coming close be a RST instead of a FIN; bytes not yet delivered are lost."""
        with contextlib.suppress(OSError):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def close(self) -> None:
        self.persists = False
        self.is_closed = True
        self._sock.close()

    def interrupt(self, how: int = socket.SHUT_RDWR) -> None:
        """Wake the thread that waits on this socket. Closing it here would leave that thread in its poll for ever."""
        self._shut(how)

    def _shut(self, how: int) -> None:
        # The socket's own way: that of TLS would take the keys away from the thread that still reads.
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
