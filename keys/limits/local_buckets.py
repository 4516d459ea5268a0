"""
Limits as one process counts them: alone, or for its share of them while the shared store is away.

With several workers each has its part of a limit, and at least what lets one call through whenever it has filled up.
Time is the monotonic clock's. What has filled up and holds no call is forgotten.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from django.conf import settings

from keys.limits.terms import CALL_MAY_END_IN_MS, PARTS, LimitCheck, LimitDecision, LimitState, Used, taken

KEPT_ANYWAY = 1_000  # so many cost less memory than it costs to look through them


def monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class LocalRateLimiter:
    """All limits of this process. May be used by threads and greenlets at once."""

    def __init__(self, *, now_ms: Callable[[], int] = monotonic_ms) -> None:
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._measures: OrderedDict[str, _Bucket | _ConcurrencySlots] = OrderedDict()

    def take(self, call_id: str, asks: Sequence[LimitCheck], *, lease_s: float) -> LimitDecision:
        """Take all that a call asks for, or nothing. A place that is not given back is free again after the lease."""
        with self._lock:
            now = self._now_ms()
            measures = self._measured(asks, now)
            waits = [measure.wait_ms(ask) for measure, ask in zip(measures, asks, strict=True)]
            takes = taken(asks, waits)
            for measure, ask in zip(measures, asks, strict=True):
                if ask in takes:
                    measure.take(ask, call_id, now + round(lease_s * 1000))
            self._forget_idle(len(asks) + 1, now)
            return _verdict(asks, measures, waits)

    def settle(self, call_id: str, asks: Sequence[LimitCheck], used: Used) -> LimitDecision:
        """Give back what was taken and not used, take what was used beyond it, and give the places back."""
        with self._lock:
            measures = self._measured(asks, self._now_ms())
            for measure, ask in zip(measures, asks, strict=True):
                measure.give_back(ask, call_id, used.get(ask.limit, 0))
            return _verdict(asks, measures, [0] * len(asks))

    def look(self, asks: Sequence[LimitCheck]) -> LimitDecision:
        """How limits stand now. Takes nothing."""
        with self._lock:
            measures = self._measured(asks, self._now_ms())
            return _verdict(asks, measures, [0] * len(asks))

    def __len__(self) -> int:
        return len(self._measures)

    def _measured(self, asks: Sequence[LimitCheck], now: int) -> "list[_Bucket | _ConcurrencySlots]":
        """What counts for each ask, as it is now."""
        share = settings.WEB_CONCURRENCY
        measures = []
        for ask in asks:
            measure = self._measures.get(ask.key)
            if measure is None:
                measure = self._measures[ask.key] = (
                    _ConcurrencySlots() if ask.is_concurrency else _Bucket(ask, now, share)
                )
            else:
                self._measures.move_to_end(ask.key)
            measure.look(ask, now, share)
            measures.append(measure)
        return measures

    def _forget_idle(self, looks: int, now: int) -> None:
        """Look at the oldest: at more of them than a call brings in, so that all are looked at in time."""
        for _ in range(min(looks, len(self._measures) - KEPT_ANYWAY)):
            key, measure = next(iter(self._measures.items()))
            if measure.is_idle(now):
                del self._measures[key]
            else:
                self._measures.move_to_end(key)


class _Bucket:
    """Units that flow in all the time. It may be in debt: what a call used cannot be refused afterwards."""

    __slots__ = ("_at", "_capacity", "_inflow", "_level", "_unit")

    def __init__(self, ask: LimitCheck, now: int, share: int) -> None:
        self._at = now
        self._set_size(ask, share)
        self._level = self._capacity

    def _set_size(self, ask: LimitCheck, share: int) -> None:
        self._inflow = ask.value
        self._unit = PARTS * share
        self._capacity = max(ask.value * PARTS, self._unit)

    def look(self, ask: LimitCheck, now: int, share: int) -> None:
        """Let flow in what has come since, at the rate that the limit has now."""
        self._set_size(ask, share)
        self._level = self._level_at(now)
        self._at = now

    def _level_at(self, now: int) -> int:
        return min(self._capacity, self._level + (now - self._at) * self._inflow)

    def wait_ms(self, ask: LimitCheck) -> int:
        return max(0, _rounded_up(self._parts(ask) - self._level, self._inflow))

    def take(self, ask: LimitCheck, call_id: str, end: int) -> None:
        self._level -= self._parts(ask)

    def give_back(self, ask: LimitCheck, call_id: str, used: int) -> None:
        self._level = min(self._capacity, self._level + self._parts(ask) - used * self._unit)

    def _parts(self, ask: LimitCheck) -> int:
        """What an ask takes: at most all that there can be, or a large call would be refused for ever."""
        return min(ask.amount, self._capacity // self._unit) * self._unit

    def state(self, ask: LimitCheck, wait_ms: int) -> LimitState:
        full_in_ms = _rounded_up(self._capacity - self._level, self._inflow)
        return LimitState(ask, wait_ms, max(0, self._level // self._unit), full_in_ms)

    def is_idle(self, now: int) -> bool:
        return self._level_at(now) == self._capacity


class _ConcurrencySlots:
    """Calls at once, each with the end of its lease."""

    __slots__ = ("_count", "_first_end", "_requests")

    def __init__(self) -> None:
        self._requests: dict[str, int] = {}
        self._first_end = 0

    def look(self, ask: LimitCheck, now: int, share: int) -> None:
        self._count = max(1, ask.value // share)
        self._end_leases(now)

    def _end_leases(self, now: int) -> None:
        if self._requests and self._first_end <= now:
            self._requests = {call_id: end for call_id, end in self._requests.items() if end > now}
            self._first_end = min(self._requests.values(), default=0)

    def wait_ms(self, ask: LimitCheck) -> int:
        return 0 if len(self._requests) < self._count else CALL_MAY_END_IN_MS

    def take(self, ask: LimitCheck, call_id: str, end: int) -> None:
        self._first_end = min(end, self._first_end) if self._requests else end
        self._requests[call_id] = end

    def give_back(self, ask: LimitCheck, call_id: str, used: int) -> None:
        self._requests.pop(call_id, None)

    def state(self, ask: LimitCheck, wait_ms: int) -> LimitState:
        return LimitState(ask, wait_ms, max(0, self._count - len(self._requests)), 0)

    def is_idle(self, now: int) -> bool:
        self._end_leases(now)
        return not self._requests


def _verdict(
    asks: Sequence[LimitCheck], measures: Sequence[_Bucket | _ConcurrencySlots], waits_ms: Sequence[int]
) -> LimitDecision:
    states = [measure.state(ask, wait_ms) for measure, ask, wait_ms in zip(measures, asks, waits_ms, strict=True)]
    return LimitDecision(tuple(states), time.time())


def _rounded_up(parts: int, by: int) -> int:
    return -(parts // -by)
