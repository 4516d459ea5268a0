"""What a process knows of a table, read anew as soon as it is older than `settings.CONFIG_CACHE_TTL_S`."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from django.conf import settings
from django.db import InterfaceError, OperationalError

from lib import deadlines

ASK_AGAIN_S = 1.0  # how long nobody asks again after the database did not tell

Value = TypeVar("Value")


class SingleFlightCache(Generic[Value]):
    """A value that one caller reads for all. Those who need it meanwhile wait, without a connection of their own.

    A waiting caller that kept its connection would keep it from the one who reads: with as many of them as the pool has
    slots, nobody would get any further.
    """

    def __init__(self, read: Callable[[], Value]) -> None:
        self._read = read
        self._value: Value | None = None
        self._fresh_until = 0.0
        self._lock = threading.Lock()

    @property
    def last(self) -> Value | None:
        """The value as it was last read, however long ago. Without a query."""
        return self._value

    def get(self, *, is_fresh: bool = False) -> Value | None:
        """The current value, read in this moment if it is to be fresh.

        While the database does not tell, the last one; None where there never was one. Waits for nobody longer than
        `settings.DATABASE_TIMEOUT_S`, or than `patience` has left.
        """
        if self._is_due(is_fresh) and self._takes_its_turn():
            try:
                if self._is_due(is_fresh):  # else somebody else has read it meanwhile
                    self._refresh()
            finally:
                self._lock.release()
        return self._value

    def clear(self) -> None:
        """Forget the value."""
        self._value, self._fresh_until = None, 0.0

    def _is_due(self, is_fresh: bool) -> bool:
        return is_fresh or time.monotonic() >= self._fresh_until

    def _takes_its_turn(self) -> bool:
        if self._lock.acquire(blocking=False):
            return True
        deadlines.release_connections()
        return self._lock.acquire(timeout=deadlines.left(settings.DATABASE_TIMEOUT_S))

    def _refresh(self) -> None:
        fresh_s = settings.CONFIG_CACHE_TTL_S
        try:
            self._value = self._read()
        except (OperationalError, InterfaceError):
            fresh_s = min(fresh_s, ASK_AGAIN_S)
        self._fresh_until = time.monotonic() + fresh_s
