"""
What watches over the running calls of this process: callers who leave, deadlines that pass, the end of the process.

One loop looks at all of them ten times a second. A caller's socket is polled for POLLRDHUP, which no byte is read for,
so a pipelined request does not look like a caller who has left, and TLS makes no difference. Polling 1,000 sockets
costs 0.1 ms; a waiting greenlet for each would cost 10 to 20 KB.
"""

import os
import select
import threading
import time
from typing import Protocol

from gevent import monkey

TICK_S = 0.1
GONE = select.POLLRDHUP | select.POLLHUP | select.POLLERR | select.POLLNVAL


class Watched(Protocol):
    """A running call."""

    def fileno(self) -> int | None:
        """The caller's socket, if the server shows it."""

    def tick(self, now: float) -> None:
        """Look at the deadlines. Must not wait."""

    def on_client_disconnect(self) -> None:
        """The caller closed its side. May be said more than once."""

    def on_drain_timeout(self) -> None:
        """The process ends: bring the call to an honest end. May be said more than once."""


class Watcher:
    """The loop of one process. It starts with the first call, in whatever process that comes (workers fork)."""

    def __init__(self) -> None:
        self._calls: set[Watched] = set()
        self._pid = 0
        self._drain_at: float | None = None

    @property
    def is_draining(self) -> bool:
        """Whether the process is about to end: no new call is let in."""
        return self._drain_at is not None

    def drain(self, *, at: float) -> None:
        """Let no new call in; running ones have until the monotonic moment `at`."""
        self._drain_at = at

    @property
    def requests(self) -> list[Watched]:
        """What runs at the moment."""
        return list(self._calls)

    def add(self, call: Watched) -> None:
        self._calls.add(call)
        if self._pid != os.getpid():
            self._pid = os.getpid()
            threading.Thread(target=self._run, name="watcher", daemon=True).start()

    def remove(self, call: Watched) -> None:
        """May be called twice."""
        self._calls.discard(call)

    def finish(self, *, within_s: float) -> bool:
        """Bring whatever still runs to its end. Return whether it ended in time."""
        deadline = time.monotonic() + within_s
        while calls := list(self._calls):
            if time.monotonic() > deadline:
                return False
            for call in calls:
                call.on_drain_timeout()
            time.sleep(TICK_S / 10)
        return True

    def _run(self) -> None:
        try:
            while True:
                self._look(list(self._calls))
                time.sleep(TICK_S)
        finally:
            self._pid = 0  # after an error of ours the next call starts the loop again

    def _look(self, calls: list[Watched]) -> None:
        self._look_at_callers(calls)
        now = time.monotonic()
        for call in calls:
            call.tick(now)
            if self._drain_at is not None and now >= self._drain_at:
                call.on_drain_timeout()

    def _look_at_callers(self, calls: list[Watched]) -> None:
        by_fd = {fd: call for call in calls if (fd := call.fileno()) is not None}
        poll = _poll()
        for fd in by_fd:
            poll.register(fd, select.POLLRDHUP)
        for fd, event in poll.poll(0):
            if event & GONE:
                by_fd[fd].on_client_disconnect()


def _poll() -> "select.poll":
    """The system's own poll: it returns at once, so it need not be gevent's, which knows no POLLRDHUP."""
    poll: select.poll = monkey.get_original("select", "poll")()
    return poll


watcher = Watcher()
