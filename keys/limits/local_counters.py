"""The counters of the local rate limiter: token buckets, and slots of concurrent requests."""

from keys.limits.checks import BLOCKED_MS, PARTS, SLOT_RETRY_MS, LimitCheck, LimitState

REPORTED_MS = 60_000
"""How long the slots of other processes count that Redis reported last. Most of their requests have ended by then."""


class TokenBucket:
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

    def learn(self, state: LimitState, now: int) -> None:
        """Take over the level in Redis: this process has its share of it."""
        if state.check.value == self._limit:
            self._level = self._capacity - state.full_in_ms * self._limit
            self._at = now

    def refund_shared(self, check: LimitCheck, used: int) -> None:
        """Refund a request that Redis has counted: its part of the whole limit, not of the share."""
        parts = (min(check.amount, max(1, check.value)) - used) * PARTS
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


class ConcurrencySlots:
    """The slots of in-flight requests, each with the end of its lease, and the last report about all processes.

    While the report is new, the free slots are divided among the workers, and each keeps those that it had. So no slot
    is given twice, even if a worker had more than its share.
    """

    __slots__ = ("_count", "_first_end", "_lease_ends", "_limit", "_reported_own", "_reported_until", "_reported_used")

    def __init__(self) -> None:
        self._lease_ends: dict[str, int] = {}
        self._first_end = 0
        self._limit = self._count = 1
        self._reported_used = self._reported_own = self._reported_until = 0

    def refresh(self, check: LimitCheck, now: int, share: int, *, rank: int) -> None:
        """Free the slots whose lease has expired."""
        self._limit = check.value
        self._expire(now)
        self._count = max(1, check.value // share)
        if now < self._reported_until:
            free = max(0, check.value - self._reported_used)
            count = self._reported_own + free // share + (rank < free % share)
            self._count = count if check.value >= share else max(1, count)

    def _expire(self, now: int) -> None:
        if self._lease_ends and self._first_end <= now:
            self._lease_ends = {request_id: end for request_id, end in self._lease_ends.items() if end > now}
            self._first_end = min(self._lease_ends.values(), default=0)
        if self._reported_until <= now:
            self._reported_used = self._reported_own = 0

    @property
    def others(self) -> int:
        """Slots of other processes, by a report that is not too old."""
        return max(0, self._reported_used - self._reported_own)

    def wait_ms(self, check: LimitCheck) -> int:
        return self.known_wait_ms(is_share_enforced=True)

    def known_wait_ms(self, *, is_share_enforced: bool) -> int:
        """Return the wait for a slot of the limit, by the slots that this process knows of, or of its share."""
        is_full = len(self._lease_ends) + self.others >= self._limit
        is_share_full = is_share_enforced and len(self._lease_ends) >= self._count
        return SLOT_RETRY_MS if is_full or is_share_full else 0

    def learn(self, state: LimitState, now: int) -> None:
        self.learn_used(state.check.value - state.remaining, now)

    def learn_used(self, used: int, now: int) -> None:
        """Note how many slots are in use in Redis, of all processes."""
        self._reported_used, self._reported_own = used, len(self._lease_ends)
        self._reported_until = now + REPORTED_MS

    def consume(self, check: LimitCheck, request_id: str, lease_ends_at: int) -> None:
        self._first_end = min(lease_ends_at, self._first_end) if self._lease_ends else lease_ends_at
        self._lease_ends[request_id] = lease_ends_at

    def settle(self, check: LimitCheck, request_id: str, used: int) -> None:
        self._lease_ends.pop(request_id, None)

    def state(self, check: LimitCheck, wait_ms: int) -> LimitState:
        own = len(self._lease_ends)
        return LimitState(check, wait_ms, max(0, min(self._count - own, self._limit - own - self.others)), 0)

    def is_idle(self, now: int) -> bool:
        self._expire(now)
        return not self._lease_ends and not self.others


class Blocked:
    """The counter of a limit of 0, which admits nothing."""

    def wait_ms(self, check: LimitCheck) -> int:
        return BLOCKED_MS if check.amount else 0

    def consume(self, check: LimitCheck, request_id: str, lease_ends_at: int) -> None: ...

    def settle(self, check: LimitCheck, request_id: str, used: int) -> None: ...

    def learn(self, state: LimitState, now: int) -> None: ...

    def state(self, check: LimitCheck, wait_ms: int) -> LimitState:
        return LimitState(check, wait_ms, 0, 0)


BLOCKED = Blocked()
Counter = TokenBucket | ConcurrencySlots | Blocked


def _sizes(limit: int, share: int) -> tuple[int, int]:
    """Return the parts of one unit, and the capacity: at least one unit, or nothing could be admitted."""
    unit = PARTS * share
    return unit, max(limit * PARTS, unit)


def _rounded_up(parts: int, by: int) -> int:
    return -(parts // -by)
