"""Listening socket that can be closed and reopened on the same port while connections stay open."""

import contextlib
import socket
import threading
from collections.abc import Callable

_BACKLOG = 1024


class Listener:
    """Accept connections in a thread and pass each one to `take`."""

    def __init__(
        self, address: tuple[str, int], *, take: Callable[[socket.socket], None], stopping: threading.Event
    ) -> None:
        self._take = take
        self._stopping = stopping
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._sock = _bound(address)
        self.address: tuple[str, int] = self._sock.getsockname()

    def accept(self, *, after_s: float = 0.0) -> None:
        """Listen, immediately or later. Do nothing if it listens already or if the server closes meanwhile."""
        if self._stopping.wait(after_s):
            return
        with self._lock:
            if self._thread is not None or self._stopping.is_set():
                return
            self._sock.listen(_BACKLOG)
            self._thread = threading.Thread(target=self._run, args=(self._sock,), daemon=True, name="upstream-listener")
            self._thread.start()

    def refuse(self) -> None:
        """Refuse connections until `accept`. The port stays bound, so the kernel responds with a RST."""
        with self._lock:
            if self._thread is None:
                return
            self._end()
            self._sock = _bound(self.address)

    def close(self) -> None:
        with self._lock:
            self._end()

    def _end(self) -> None:
        thread, self._thread = self._thread, None
        # Only shutdown wakes a thread in accept; systems that do not support it here wait for the timeout.
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        if thread is not None:
            thread.join()
        self._sock.close()

    def _run(self, sock: socket.socket) -> None:
        sock.settimeout(0.2)
        while self._thread is threading.current_thread():
            try:
                accepted, _ = sock.accept()
            except TimeoutError:
                continue
            except OSError:
                # Shut down, or out of file descriptors, which is temporary.
                self._stopping.wait(0.02)
                continue
            self._take(accepted)


def _bound(address: tuple[str, int]) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock
