"""Turns of the event loop: how many requests begin before the worker looks at its sockets again."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

import gevent
from gevent.event import Event

from lib.pace import SLICE_S, YIELD_S


class Turns:
    """Lets one page begin per turn of the loop, and other requests for `SLICE_S`, in the order of their arrival.

    gevent switches only where a socket blocks. A page takes 10 ms of CPU time: without turns, 200 clients that pipeline
    pages hold up the streams of the worker until they are served.
    """

    def __init__(self) -> None:
        self._pages = _Queue()
        self._others = _Queue()
        self._iteration = -1
        self._began = -math.inf
        """When the first request of this turn began."""

    def wait_for_page(self) -> None:
        with self._pages.turn():
            gevent.sleep(YIELD_S)

    def wait_for_request(self) -> None:
        if self._others.is_free() and not self._is_over():
            return
        with self._others.turn():
            if self._is_over():
                gevent.sleep(YIELD_S)
                self._is_over()

    def _is_over(self) -> bool:
        """Return whether this turn of the loop has begun requests for its time. Notes a new turn."""
        iteration = gevent.get_hub().loop.iteration
        if iteration != self._iteration:
            self._iteration, self._began = iteration, time.monotonic()
        return time.monotonic() - self._began > SLICE_S


class _Queue:
    """Greenlets that proceed one after the other, in the order of their arrival.

    A semaphore would not keep the order: a greenlet that releases it and does not block acquires it again.
    """

    def __init__(self) -> None:
        self._last = Event()
        self._last.set()

    def is_free(self) -> bool:
        """Return whether no greenlet has the turn or waits for it."""
        return self._last.is_set()

    @contextmanager
    def turn(self) -> Iterator[None]:
        before, mine = self._last, Event()
        self._last = mine
        try:
            before.wait()
            yield
        finally:
            mine.set()
