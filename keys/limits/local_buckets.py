"""
The local rate limiter: the limits as one process counts them, alone or for its share while Redis is unavailable.

With several workers, each enforces its part of a limit, but at least what admits one request whenever it is fully
replenished. Time is the monotonic clock. Counters that are full and hold no slot are evicted.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

from django.conf import settings

from keys.limits.checks import LimitCheck, LimitDecision, Usage, consumed
from keys.limits.local_counters import BLOCKED, ConcurrencySlots, Counter, TokenBucket
from keys.limits.presence import Presence

KEPT_ANYWAY = 1_000  # so many counters cost less memory than it costs to scan them


def monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class LocalRateLimiter:
    """All limits of this process. Safe for threads and greenlets."""

    def __init__(self, *, now_ms: Callable[[], int] = monotonic_ms, presence: Presence | None = None) -> None:
        self._now_ms = now_ms
        self._presence = presence
        self._lock = threading.Lock()
        self._counters: OrderedDict[str, TokenBucket | ConcurrencySlots] = OrderedDict()

    def consume(self, request_id: str, checks: Sequence[LimitCheck], *, lease_s: float) -> LimitDecision:
        """Consume everything that a request needs, or nothing. A slot is freed after `lease_s` at the latest."""
        with self._lock:
            now = self._now_ms()
            counters = self._refreshed(checks, now)
            waits = [counter.wait_ms(check) for counter, check in zip(counters, checks, strict=True)]
            consuming = consumed(checks, waits)
            lease_ends_at = now + round(lease_s * 1000)
            for counter, check in zip(counters, checks, strict=True):
                if check in consuming:
                    counter.consume(check, request_id, lease_ends_at)
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

    # ---- The state that Redis reports, from which this process counts during an outage.

    def learn(self, request_id: str, decision: LimitDecision, *, lease_s: float, is_complete: bool) -> None:
        """Note what a request consumed in Redis and, if Redis knows of all requests, the state of its limits there."""
        with self._lock:
            now = self._now_ms()
            checks = [state.check for state in decision.states]
            held = {check.key for check in decision.consumed}
            for counter, state in zip(self._refreshed(checks, now), decision.states, strict=True):
                if state.check.key in held and state.check.is_concurrency:
                    counter.consume(state.check, request_id, now + round(lease_s * 1000))
                if is_complete:
                    counter.learn(state, now)
            self._evict_idle(len(checks) + 1, now)

    def learn_slots(self, used: Mapping[str, int]) -> None:
        """Note how many slots of concurrency limits are in use in Redis. Those that are not named are free."""
        with self._lock:
            now = self._now_ms()
            for key, count in used.items():
                counter = self._counters.setdefault(key, ConcurrencySlots())
                if isinstance(counter, ConcurrencySlots):
                    counter.learn_used(count, now)
            for key, counter in self._counters.items():
                if isinstance(counter, ConcurrencySlots) and key not in used:
                    counter.learn_used(0, now)

    def known_slots(self, checks: Sequence[LimitCheck], *, is_share_enforced: bool) -> LimitDecision:
        """Return the decision by the slots that this process knows of. The token buckets are not checked."""
        with self._lock:
            slots = [check for check in checks if check.is_concurrency]
            counters = self._refreshed(slots, self._now_ms())
            waits = [
                counter.known_wait_ms(is_share_enforced=is_share_enforced)
                if isinstance(counter, ConcurrencySlots)
                else 0
                for counter in counters
            ]
            return _decision(slots, counters, waits)

    def settle_shared(
        self, request_id: str, checks: Sequence[LimitCheck], usage: Usage, *, decision: LimitDecision | None
    ) -> None:
        """Free the slots of a request that was counted in Redis. Without a decision of Redis, refund it here too."""
        with self._lock:
            now = self._now_ms()
            for counter, check in zip(self._refreshed(checks, now, is_settling=True), checks, strict=True):
                if check.is_concurrency:
                    counter.settle(check, request_id, 0)
                elif decision is None and isinstance(counter, TokenBucket):
                    counter.refund_shared(check, usage.get(check.limit, 0))
            for state in decision.states if decision else ():
                (counter,) = self._refreshed([state.check], now, is_settling=True)
                counter.learn(state, now)

    def __len__(self) -> int:
        return len(self._counters)

    def _refreshed(self, checks: Sequence[LimitCheck], now: int, *, is_settling: bool = False) -> "list[Counter]":
        """Return the counter of each check, at its current level."""
        share = self._presence.workers if self._presence else settings.WEB_CONCURRENCY
        rank = self._presence.rank if self._presence else 0
        counters: list[Counter] = []
        for check in checks:
            if check.is_blocked:
                counters.append(BLOCKED)
                continue
            counter = self._counters.get(check.key)
            if counter is None:
                counter = self._counters[check.key] = (
                    ConcurrencySlots() if check.is_concurrency else TokenBucket(check, now, share)
                )
            else:
                self._counters.move_to_end(check.key)
            if isinstance(counter, ConcurrencySlots):
                counter.refresh(check, now, share, rank=rank)
            else:
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


def _decision(checks: Sequence[LimitCheck], counters: Sequence[Counter], waits_ms: Sequence[int]) -> LimitDecision:
    states = [counter.state(check, wait_ms) for counter, check, wait_ms in zip(counters, checks, waits_ms, strict=True)]
    return LimitDecision(tuple(states), time.time())
