"""
Retry budget of one upstream: which share of its recent attempts may be retries.

An upstream that is down must not receive three times the traffic of a healthy one. Retries are at most a tenth of its
requests, and three per second are always allowed. The API keys with recent requests share them equally, so that the
failing requests of one client do not use up the retries of the others.
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
        self._last_request: dict[int, int] = {}
        """The second of the last request, by key."""
        self._retries_by_key: dict[int, _SlidingWindow] = {}
        self._forgot_at = 0

    def record_request(self, key_id: int) -> None:
        """Count a first attempt."""
        second = int(self._clock())
        self._requests.add(second)
        self._last_request[key_id] = second

    def try_acquire(self, key_id: int) -> bool:
        """Count a retry and return True, or return False where the budget or the key's share of it is exhausted."""
        second = int(self._clock())
        budget = max(MAX_SHARE * self._requests.total(second), MIN_PER_SECOND * WINDOW_S)
        self._last_request[key_id] = second
        self._forget_idle_keys(second)
        of_key = self._retries_by_key.setdefault(key_id, _SlidingWindow())
        share = budget / len(self._last_request)
        if self._retries.total(second) >= budget or of_key.total(second) >= share:
            return False
        self._retries.add(second)
        of_key.add(second)
        return True

    def _forget_idle_keys(self, second: int) -> None:
        """Forget the keys without a recent request, once per second."""
        if second == self._forgot_at:
            return
        self._forgot_at = second
        for key_id in [key_id for key_id, last in self._last_request.items() if last <= second - WINDOW_S]:
            del self._last_request[key_id]
            self._retries_by_key.pop(key_id, None)


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
