"""Pace: give other greenlets a turn during long work, so that one request does not hold up the streams of a worker."""

import time
from collections.abc import Callable

SLICE_S = 0.01

Pace = Callable[[], None]


def no_pace() -> None:
    """Do not yield: for short work, and outside of a worker."""


def pace() -> Pace:
    """Return a callable for the steps of long work. It yields when the last turn was longer than SLICE_S."""
    began = time.monotonic()

    def step() -> None:
        nonlocal began
        if time.monotonic() - began > SLICE_S:
            time.sleep(0)  # gevent's own under a worker: all that are ready run first
            began = time.monotonic()

    return step
