"""
Retry budget of one upstream: which share of its recent attempts may be retries.

An upstream that is down must not receive three times the traffic of a healthy one. Retries are at most a tenth of its
requests, and three per second are always allowed.
"""

import time
from collections.abc import Callable

MAX_SHARE = 0.1
MIN_PER_SECOND = 3
WINDOW_S = 10


class RetryBudget:
    """Requests and retries of one upstream, counted per second over the last ten seconds."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._requests = _SlidingWindow()
        self._retries = _SlidingWindow()

    def record_request(self) -> None:
        """Count a first attempt."""
        self._requests.add(int(self._clock()))

    def try_acquire(self) -> bool:
        """Count a retry and return True, or return False where the budget is exhausted."""
        second = int(self._clock())
        if self._retries.total(second) >= max(MAX_SHARE * self._requests.total(second), MIN_PER_SECOND * WINDOW_S):
            return False
        self._retries.add(second)
        return True


class _SlidingWindow:
    """A ring with one counter for each of the last seconds."""

    def __init__(self) -> None:
        self._seconds = [0] * WINDOW_S
        self._counts = [0] * WINDOW_S

    def add(self, second: int) -> None:
        i = second % WINDOW_S
        if self._seconds[i] != second:
            self._seconds[i], self._counts[i] = second, 0
        self._counts[i] += 1

    def total(self, second: int) -> int:
        return sum(
            count
            for counted, count in zip(self._seconds, self._counts, strict=True)
            if second - WINDOW_S < counted <= second
        )
