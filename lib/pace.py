"""Pace: give other greenlets a turn during long work, so that one request does not hold up the streams of a worker."""

import time
from collections.abc import Callable

SLICE_S = 0.01
YIELD_S = 1e-6
"""Not 0: gevent's sleep(0) lets ready greenlets run, up to fifty times before the loop looks at its sockets. Data that
had arrived was then read after 165 ms, instead of 10."""

Pace = Callable[[], None]


def no_pace() -> None:
    """Do not yield: for short work, and outside of a worker."""


class Turn:
    """The time since other greenlets ran. `step` gives them a turn when it is longer than `slice_s`."""

    def __init__(self, *, slice_s: float = SLICE_S) -> None:
        self._slice_s = slice_s
        self._began = time.monotonic()

    def step(self) -> None:
        if time.monotonic() - self._began > self._slice_s:
            time.sleep(YIELD_S)  # gevent's own under a worker
            self.restart()

    def restart(self) -> None:
        """Record that others have run: this one has waited."""
        self._began = time.monotonic()


def pace() -> Pace:
    """Return a callable for the steps of long work. It yields when the last turn was longer than SLICE_S."""
    return Turn().step
