"""
The local rate limiter: the limits as one process counts them, alone or for its share while Redis is unavailable.

With several workers, each enforces its part of a limit, but at least what admits one request whenever it is fully
replenished. Time is the monotonic clock. Counters that are full and hold no slot are evicted.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from django.conf import settings

from keys.limits.checks import BLOCKED_MS, PARTS, SLOT_RETRY_MS, LimitCheck, LimitDecision, LimitState, Usage, consumed

KEPT_ANYWAY = 1_000  # so many counters cost less memory than it costs to scan them


def monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class LocalRateLimiter:
    """All limits of this process. Safe for threads and greenlets."""

    def __init__(self, *, now_ms: Callable[[], int] = monotonic_ms) -> None:
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._counters: OrderedDict[str, _TokenBucket | _ConcurrencySlots] = OrderedDict()

    def consume(self, request_id: str, checks: Sequence[LimitCheck], *, lease_s: float) -> LimitDecision:
        """Consume everything that a request needs, or nothing. A slot is freed after `lease_s` at the latest."""
        with self._lock:
            now = self._now_ms()
            counters = self._refreshed(checks, now)
            waits = [counter.wait_ms(check) for counter, check in zip(counters, checks, strict=True)]
            consuming = consumed(checks, waits)
            for counter, check in zip(counters, checks, strict=True):
                if check in consuming:
                    counter.consume(check, request_id, now + round(lease_s * 1000))
            self._evict_idle(len(checks) + 1, now)
            return _decision(checks, counters, waits)

    def settle(self, request_id: str, checks: Sequence[LimitCheck], usage: Usage) -> LimitDecision:
        """Replace what was consumed by the actual usage, and free the slots."""
        with self._lock:
            counters = self._refreshed(checks, self._now_ms(), is_settling=True)
            for counter, check in zip(counters, checks, strict=True):
                counter.settle(check, request_id, usage.get(check.limit, 0))
            return _decision(checks, counters, [0] * len(checks))

    def check(self, checks: Sequence[LimitCheck]) -> LimitDecision:
        """Return the current state of limits without consuming."""
        with self._lock:
            counters = self._refreshed(checks, self._now_ms())
            return _decision(checks, counters, [0] * len(checks))

    def __len__(self) -> int:
        return len(self._counters)

    def _refreshed(self, checks: Sequence[LimitCheck], now: int, *, is_settling: bool = False) -> "list[_Counter]":
        """Return the counter of each check, at its current level."""
        share = settings.WEB_CONCURRENCY
        counters: list[_Counter] = []
        for check in checks:
            if check.is_blocked:
                counters.append(_BLOCKED)
                continue
            counter = self._counters.get(check.key)
            if counter is None:
                counter = self._counters[check.key] = (
                    _ConcurrencySlots() if check.is_concurrency else _TokenBucket(check, now, share)
                )
            else:
                self._counters.move_to_end(check.key)
            counter.refresh(check, now, share, is_settling=is_settling)
            counters.append(counter)
        return counters

    def _evict_idle(self, most: int, now: int) -> None:
        """Examine the oldest counters: more of them than a request adds, so that each is examined in time."""
        for _ in range(min(most, len(self._counters) - KEPT_ANYWAY)):
            key, counter = next(iter(self._counters.items()))
            if counter.is_idle(now):
                del self._counters[key]
            else:
                self._counters.move_to_end(key)


class _TokenBucket:
    """Units that refill continuously. The level may be negative: usage beyond the estimate is charged afterwards."""

    __slots__ = ("_at", "_capacity", "_level", "_limit", "_offset", "_unit")

    def __init__(self, check: LimitCheck, now: int, share: int) -> None:
        self._at = now
        self._limit = check.value
        self._unit, self._capacity = _sizes(check.value, share)
        self._level = self._capacity
        self._offset = 0

    def refresh(self, check: LimitCheck, now: int, share: int, *, is_settling: bool) -> None:
        """Refill for the time since the last refresh, at the current rate of the limit.

        The limit is that of the latest request: one that is settled may have begun under another.
        """
        is_changed = not is_settling and check.value != self._limit
        if is_changed:
            self._limit = check.value
        self._unit, self._capacity = _sizes(self._limit, share)
        refilled = self._refilled(now)
        if is_changed:
            self._offset = refilled - self._capacity
        self._level = min(self._capacity, refilled)
        self._at = now

    def _refilled(self, now: int) -> int:
        return self._level + (now - self._at) * self._limit

    def wait_ms(self, check: LimitCheck) -> int:
        if not check.amount:
            return 0
        return max(0, _rounded_up(self._parts(check) - self._level, self._limit))

    def consume(self, check: LimitCheck, request_id: str, lease_ends_at: int) -> None:
        self._level -= self._parts(check)

    def settle(self, check: LimitCheck, request_id: str, used: int) -> None:
        parts = self._consumed_parts(check) - used * self._unit
        if check.value != self._limit:
            # As if the usage had been known before the limit changed: `_offset` is the level of that time without the
            # cap of the new capacity, minus the capacity. Otherwise, each older request would refill the bucket.
            before = min(0, self._offset)
            self._offset += parts
            parts = min(0, self._offset) - before
        self._level = min(self._capacity, self._level + parts)

    def _consumed_parts(self, check: LimitCheck) -> int:
        """Return what a check consumed when its limit was `check.value`."""
        capacity = max(check.value * PARTS, self._unit)
        return min(check.amount, capacity // self._unit) * self._unit

    def _parts(self, check: LimitCheck) -> int:
        """Return what a check consumes: at most the capacity, or a large request could never be admitted."""
        return min(check.amount, self._capacity // self._unit) * self._unit

    def state(self, check: LimitCheck, wait_ms: int) -> LimitState:
        full_in_ms = _rounded_up(self._capacity - self._level, self._limit)
        remaining = max(0, min(check.value, self._level // self._unit))
        return LimitState(check, wait_ms, remaining, full_in_ms)

    def is_idle(self, now: int) -> bool:
        return self._refilled(now) >= self._capacity


class _ConcurrencySlots:
    """The slots of in-flight requests, each with the end of its lease."""

    __slots__ = ("_count", "_first_end", "_lease_ends")

    def __init__(self) -> None:
        self._lease_ends: dict[str, int] = {}
        self._first_end = 0

    def refresh(self, check: LimitCheck, now: int, share: int, *, is_settling: bool) -> None:
        """Free the slots whose lease has expired."""
        self._count = max(1, check.value // share)
        self._expire(now)

    def _expire(self, now: int) -> None:
        if self._lease_ends and self._first_end <= now:
            self._lease_ends = {request_id: end for request_id, end in self._lease_ends.items() if end > now}
            self._first_end = min(self._lease_ends.values(), default=0)

    def wait_ms(self, check: LimitCheck) -> int:
        return 0 if len(self._lease_ends) < self._count else SLOT_RETRY_MS

    def consume(self, check: LimitCheck, request_id: str, lease_ends_at: int) -> None:
        self._first_end = min(lease_ends_at, self._first_end) if self._lease_ends else lease_ends_at
        self._lease_ends[request_id] = lease_ends_at

    def settle(self, check: LimitCheck, request_id: str, used: int) -> None:
        self._lease_ends.pop(request_id, None)

    def state(self, check: LimitCheck, wait_ms: int) -> LimitState:
        return LimitState(check, wait_ms, max(0, self._count - len(self._lease_ends)), 0)

    def is_idle(self, now: int) -> bool:
        self._expire(now)
        return not self._lease_ends


class _Blocked:
    """The counter of a limit of 0, which admits nothing."""

    def wait_ms(self, check: LimitCheck) -> int:
        return BLOCKED_MS if check.amount else 0

    def consume(self, check: LimitCheck, request_id: str, lease_ends_at: int) -> None: ...

    def settle(self, check: LimitCheck, request_id: str, used: int) -> None: ...

    def state(self, check: LimitCheck, wait_ms: int) -> LimitState:
        return LimitState(check, wait_ms, 0, 0)


_BLOCKED = _Blocked()
_Counter = _TokenBucket | _ConcurrencySlots | _Blocked


def _sizes(limit: int, share: int) -> tuple[int, int]:
    """Return the parts of one unit, and the capacity: at least one unit, or nothing could be admitted."""
    unit = PARTS * share
    return unit, max(limit * PARTS, unit)


def _decision(checks: Sequence[LimitCheck], counters: Sequence[_Counter], waits_ms: Sequence[int]) -> LimitDecision:
    states = [counter.state(check, wait_ms) for counter, check, wait_ms in zip(counters, checks, waits_ms, strict=True)]
    return LimitDecision(tuple(states), time.time())


def _rounded_up(parts: int, by: int) -> int:
    return -(parts // -by)
