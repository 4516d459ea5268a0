"""One accepted socket. It can do what a well-behaved server never does, and it notices when the peer leaves."""

import contextlib
import select
import socket
import struct
import threading
import time

# Only Linux tells a peer's FIN apart from readable bytes. Elsewhere whatever becomes readable during a wait
# looks like a peer that left, which holds for callers that do not pipeline.
_PEER_LEFT = getattr(select, "POLLRDHUP", select.POLLIN)
_READ_BYTES = 65536


class PeerLeft(Exception):
    """The peer closed, half-closed or reset the connection; `outcome` says which, `at` when it was noticed."""

    def __init__(self, outcome: str) -> None:
        super().__init__(outcome)
        self.outcome = outcome
        self.at = time.monotonic()


class Stopped(Exception):
    """The server is closing; whatever a thread waits for will not come."""


class Connection:
    """Send, receive and wait on a socket from one thread; only `interrupt` may be called from another."""

    def __init__(self, sock: socket.socket, *, stopping: threading.Event) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._stopping = stopping
        self.sent_bytes = 0
        self.persists = True
        """Whether another call may follow on this connection."""
        self.is_closed = False

    def send(self, data: bytes) -> None:
        """Send all of it, waiting for as long as the peer does not read. Raise PeerLeft when it can not be sent."""
        view = memoryview(data)
        while view:
            try:
                count = self._sock.send(view)
            except BlockingIOError:
                self._poll(select.POLLOUT, None)
                continue
            except OSError as error:
                raise self._departure(error) from error
            self.sent_bytes += count
            view = view[count:]

    def receive(self) -> bytes:
        """Return what arrives next; empty bytes when the peer will send no more."""
        while True:
            self._poll(select.POLLIN, None)
            try:
                return self._sock.recv(_READ_BYTES)
            except BlockingIOError:
                continue
            except OSError as error:
                raise self._departure(error) from error

    def wait(self, seconds: float | None) -> None:
        """Be silent that long, or for ever. Raise PeerLeft at once when the peer leaves meanwhile.

        A half-close looks like a close from here, so a peer that has sent its FIN has left.
        """
        if not self._poll(_PEER_LEFT, seconds):
            return
        number = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        raise PeerLeft("peer_reset" if number else "peer_closed")

    def half_close(self) -> None:
        """Send a FIN; the peer can still send, and reads the end of the bytes."""
        self.persists = False
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def resets_on_close(self) -> None:
        """Let the coming close be a RST instead of a FIN; bytes not yet delivered are lost."""
        with contextlib.suppress(OSError):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def close(self) -> None:
        self.persists = False
        self.is_closed = True
        self._sock.close()

    def interrupt(self, how: int = socket.SHUT_RDWR) -> None:
        """Wake the thread that waits on this socket. Closing it here would leave that thread in its poll for ever."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(how)

    def _poll(self, events: int, seconds: float | None) -> bool:
        poll = select.poll()
        poll.register(self._sock, events)
        is_ready = bool(poll.poll(None if seconds is None else seconds * 1000))
        if self._stopping.is_set():
            raise Stopped
        return is_ready

    def _departure(self, error: OSError) -> Exception:
        if self._stopping.is_set():
            return Stopped()
        return PeerLeft("peer_reset" if isinstance(error, ConnectionResetError) else "peer_closed")
