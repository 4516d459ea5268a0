"""Cache of a configuration table, read again when it is older than CONFIG_CACHE_TTL_S, or in the background before."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from django.conf import settings
from django.db import InterfaceError, OperationalError

from lib import deadlines

RETRY_INTERVAL_S = 1.0
"""Minimum time between two attempts to read while the database is unavailable."""
REFRESH_INTERVAL_S = 1.0
"""Time between two runs of `refresh_ahead`."""
REFRESH_AHEAD_S = 2 * REFRESH_INTERVAL_S
"""Values that are due within this time are read in the background."""

Value = TypeVar("Value")


class SingleFlightCache(Generic[Value]):
    """A value that one thread reads while the others wait, each after it has released its database connection.

    If waiting threads kept their connections, as many of them as the pool has slots would leave none for the thread
    that reads: a deadlock.
    """

    def __init__(self, read: Callable[[], Value]) -> None:
        self._read = read
        self._value: Value | None = None
        self._fresh_until = 0.0
        self._is_used = False
        """Whether the value was asked for since it was read."""
        self._lock = threading.Lock()

    @property
    def last(self) -> Value | None:
        """The value that was read last, without a query and regardless of its age."""
        return self._value

    @property
    def is_fresh(self) -> bool:
        """Whether `get` returns the value without reading it, now and for the next tenth of a second."""
        return time.monotonic() + 0.1 < self._fresh_until

    def get(self, *, is_fresh: bool = False) -> Value | None:
        """Return the current value. `is_fresh` reads it now.

        Return the last value while the database is unavailable, or None if there is none. Wait for another thread at
        most DATABASE_TIMEOUT_S, or until the deadline of this thread.
        """
        self._is_used = True
        if self._is_due(is_fresh) and self._acquire():
            try:
                if self._is_due(is_fresh):  # otherwise another thread has read it while this one waited
                    self._refresh()
            finally:
                self._lock.release()
        return self._value

    def refresh_ahead(self) -> None:
        """Read a value that is in use before it is due, so that no request waits. Runs every REFRESH_INTERVAL_S."""
        is_soon_due = time.monotonic() >= self._fresh_until - REFRESH_AHEAD_S
        if self._is_used and is_soon_due and self._lock.acquire(blocking=False):
            try:
                self._refresh()
            finally:
                self._lock.release()

    def clear(self) -> None:
        self._value, self._fresh_until = None, 0.0

    def _is_due(self, is_fresh: bool) -> bool:
        return is_fresh or time.monotonic() >= self._fresh_until

    def _acquire(self) -> bool:
        if self._lock.acquire(blocking=False):
            return True
        deadlines.release_connections()
        return self._lock.acquire(timeout=deadlines.remaining(settings.DATABASE_TIMEOUT_S))

    def _refresh(self) -> None:
        self._is_used = False
        fresh_s = settings.CONFIG_CACHE_TTL_S
        try:
            self._value = self._read()
        except (OperationalError, InterfaceError):
            fresh_s = min(fresh_s, RETRY_INTERVAL_S)
        self._fresh_until = time.monotonic() + fresh_s
