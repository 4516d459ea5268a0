"""
Watcher of a process: client disconnects, deadlines and shutdown of the in-flight requests.

One loop checks all requests ten times per second. It polls the clients' sockets for POLLRDHUP and reads no byte, so a
pipelined request is not mistaken for a disconnect, and TLS makes no difference. Polling 1,000 sockets costs 0.1 ms; a
waiting greenlet for each would cost 10 to 20 KB.
"""

import select
import threading
import time
from collections.abc import Iterable
from typing import Protocol

from gevent import monkey

from lib.threads import OncePerProcess

TICK_S = 0.1
DISCONNECTED = select.POLLRDHUP | select.POLLHUP | select.POLLERR | select.POLLNVAL


class Watched(Protocol):
    """A request that the watcher checks."""

    def fileno(self) -> int | None:
        """Return the client's socket, or None where the server does not expose it."""

    def tick(self, now: float) -> None:
        """Check the deadlines. Must not block."""

    def on_client_disconnect(self) -> None:
        """Handle the end of the client's connection. May be called more than once."""

    def on_drain_timeout(self) -> None:
        """End the request with an error, because the process shuts down. May be called more than once."""


class Watcher:
    """The loop of one process, in a thread that `start` or the first request starts."""

    def __init__(self) -> None:
        self._requests: set[Watched] = set()
        self._loop = OncePerProcess(self._start_loop)
        self._drain_at: float | None = None

    @property
    def is_draining(self) -> bool:
        """Whether the process shuts down and admits no request."""
        return self._drain_at is not None

    def drain(self, *, at: float) -> None:
        """Stop admission. In-flight requests may continue until the monotonic time `at`."""
        self._drain_at = at

    @property
    def requests(self) -> list[Watched]:
        return list(self._requests)

    def start(self) -> None:
        """Start the loop unless it runs in this process."""
        self._loop.ensure()

    def add(self, request: Watched) -> None:
        self._requests.add(request)
        self._loop.ensure()

    def remove(self, request: Watched) -> None:
        """May be called twice."""
        self._requests.discard(request)

    def finish(self, *, within_s: float) -> bool:
        """End all requests that are still in flight. Return whether they ended in time."""
        deadline = time.monotonic() + within_s
        while requests := list(self._requests):
            if time.monotonic() > deadline:
                return False
            for request in requests:
                request.on_drain_timeout()
            time.sleep(TICK_S / 10)
        return True

    def _start_loop(self) -> None:
        threading.Thread(target=self._run, name="watcher", daemon=True).start()

    def _run(self) -> None:
        try:
            while True:
                self._check(list(self._requests))
                time.sleep(TICK_S)
        finally:
            self._loop.reset()  # after an unhandled error the next request starts the loop again

    def _check(self, requests: list[Watched]) -> None:
        self._check_clients(requests)
        now = time.monotonic()
        for request in requests:
            request.tick(now)
            if self._drain_at is not None and now >= self._drain_at:
                request.on_drain_timeout()

    def _check_clients(self, requests: list[Watched]) -> None:
        by_fd = {fd: request for request in requests if (fd := request.fileno()) is not None}
        for fd in disconnected(by_fd):
            by_fd[fd].on_client_disconnect()


def disconnected(sockets: Iterable[int]) -> list[int]:
    """Return the sockets whose client has disconnected. Does not block; takes about 5 µs for one socket."""
    poll = monkey.get_original("select", "poll")()  # gevent's own has no POLLRDHUP
    for fd in sockets:
        poll.register(fd, select.POLLRDHUP)
    return [fd for fd, event in poll.poll(0) if event & DISCONNECTED]


watcher = Watcher()
