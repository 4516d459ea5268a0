"""
How many attempts of the last seconds were retries. An upstream that is down must not be asked three times as often as
one that is up, so retries are at most a tenth of its calls, and three a second in any case.
"""

import time
from collections.abc import Callable

SHARE = 0.1
A_SECOND = 3
WINDOW_S = 10


class RetryBudget:
    """The calls and the retries of one upstream, counted by the second over the last ten."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._calls = _Recently()
        self._retries = _Recently()

    def call(self) -> None:
        """A first attempt begins."""
        self._calls.add(int(self._clock()))

    def take(self) -> bool:
        """Whether there is room for a retry, which is then counted."""
        second = int(self._clock())
        if self._retries.total(second) >= max(SHARE * self._calls.total(second), A_SECOND * WINDOW_S):
            return False
        self._retries.add(second)
        return True


class _Recently:
    """A ring with a counter for each of the last seconds."""

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
