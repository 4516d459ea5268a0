"""Pool of idle connections to one server, and the thread that closes them after a while."""

import contextlib
import threading
import time
import weakref
from collections import deque
from functools import partial

from lib.threads import OncePerProcess
from messages_api.backend.connection import UpstreamConnection

POOL_SIZE = 2_000  # at least the concurrent requests of one worker: a smaller pool closes and reopens connections
MAX_IDLE_S = 60.0  # servers close them too; the longer one waits, the likelier a request meets that moment
SWEEP_S = 5.0


class ConnectionPool:
    """The idle connections to one server. The one that was used last serves first, so that the others can expire."""

    def __init__(self) -> None:
        self._idle: deque[UpstreamConnection] = deque()
        self._is_closed = False
        weakref.finalize(self, _close_all, self._idle)
        _pools.add(self)
        _sweeper.ensure()

    def take(self) -> UpstreamConnection | None:
        """Return an idle connection that the server has kept open, or None. The pool no longer has it."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            connection.watch_idle(None)
            if connection.is_quiet:
                return connection
            connection.close()

    def give_back(self, connection: UpstreamConnection) -> None:
        """Keep a connection whose response was read completely."""
        if self._is_closed or len(self._idle) >= POOL_SIZE:
            connection.close()
            return
        connection.idle_since = time.monotonic()
        self._idle.append(connection)
        connection.watch_idle(partial(self._drop, connection))

    def _drop(self, connection: UpstreamConnection) -> None:
        """Close an idle connection that the server closed, or on which it sent bytes without a request."""
        with contextlib.suppress(ValueError):
            self._idle.remove(connection)
            connection.close()

    def close_idle(self, *, since: float) -> None:
        """Close the connections that have been idle since the monotonic time `since`, or for longer."""
        while self._idle:
            try:
                connection = self._idle.popleft()
            except IndexError:  # taken meanwhile
                return
            if connection.idle_since > since:
                self._idle.appendleft(connection)
                return
            connection.close()

    def close(self) -> None:
        """Close all idle connections, and those in use once they come back."""
        self._is_closed = True
        _close_all(self._idle)


def _close_all(connections: deque[UpstreamConnection]) -> None:
    while connections:
        connections.pop().close()


def close_idle_connections(*, idle_s: float) -> None:
    """Close the connections of all pools that have been idle for `idle_s` seconds."""
    since = time.monotonic() - idle_s
    for pool in list(_pools):
        pool.close_idle(since=since)


def _sweep() -> None:
    try:
        while True:
            time.sleep(SWEEP_S)
            close_idle_connections(idle_s=MAX_IDLE_S)
    finally:
        _sweeper.reset()


_pools: "weakref.WeakSet[ConnectionPool]" = weakref.WeakSet()
_sweeper = OncePerProcess(lambda: threading.Thread(target=_sweep, name="idle connections", daemon=True).start())
