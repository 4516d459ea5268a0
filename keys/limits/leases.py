"""
Leases of concurrency slots: renews in Redis what the in-flight requests of this process hold.

Requests that were admitted while Redis was unavailable are renewed as well, so that Redis learns of them when it
recovers, whatever data it lost. Refunds that failed are repeated as soon as Redis is available.
"""

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from keys.limits.checks import LimitCheck, LimitDecision, Usage
from keys.limits.redis_buckets import RedisRateLimiter
from lib.shared_store import SharedStore
from lib.threads import OncePerProcess

RENEW_INTERVAL_S = 5.0
TICK_S = 1.0
TICK_DURING_OUTAGE_S = 0.1  # requests admitted meanwhile must be renewed before other workers check their limits
MAX_PENDING_REFUNDS = 10_000


@dataclass(kw_only=True, slots=True)
class _Lease:
    checks: Sequence[LimitCheck]
    ends_at: float
    is_in_redis: bool
    """Whether Redis may have recorded it: it confirmed, or it was asked and did not respond."""

    @property
    def slots(self) -> list[LimitCheck]:
        return [check for check in self.checks if check.is_concurrency]


class ConcurrencyLeases:
    """The leases of the in-flight requests of one process, and the loop that renews them."""

    def __init__(self, shared: RedisRateLimiter, store: SharedStore) -> None:
        self._shared = shared
        self._store = store
        self._leases: dict[str, _Lease] = {}
        self._pending_refunds: deque[tuple[str, Sequence[LimitCheck], Usage]] = deque(maxlen=MAX_PENDING_REFUNDS)
        self._loop = OncePerProcess(self._start_loop)
        self._is_closed = threading.Event()

    def add(self, request_id: str, checks: Sequence[LimitCheck], *, lease_s: float, is_in_redis: bool) -> None:
        """Renew the slots of a request until it is settled, for `lease_s` at most. Add to what it consumed before."""
        lease = self._leases.get(request_id)
        if lease is None:
            ends_at = time.monotonic() + lease_s
            self._leases[request_id] = _Lease(checks=tuple(checks), ends_at=ends_at, is_in_redis=is_in_redis)
        else:
            lease.checks = (*lease.checks, *checks)
            lease.is_in_redis = lease.is_in_redis or is_in_redis
        self.start()

    def start(self) -> None:
        """Start the loop unless it runs in this process or was closed."""
        if not self._is_closed.is_set():
            self._loop.ensure()

    def _start_loop(self) -> None:
        threading.Thread(target=self._run, name="limit leases", daemon=True).start()

    def settle(self, request_id: str, usage: Usage) -> LimitDecision | None:
        """Settle a request in Redis, now or as soon as possible.

        Return None if Redis did not respond or has no record of the request.
        """
        lease = self._leases.pop(request_id, None)
        if lease is None or not lease.is_in_redis:
            return None
        decision = self._shared.settle(request_id, lease.checks, usage)
        if decision is None:
            self._pending_refunds.append((request_id, lease.checks, usage))
        return decision

    def refund_later(self, request_id: str, checks: Sequence[LimitCheck]) -> None:
        """Refund what Redis may have consumed for a request that was rejected because Redis did not respond."""
        self._pending_refunds.append((request_id, checks, {}))
        self.start()

    def close(self) -> None:
        """Stop the loop. Slots that are still held expire with their lease."""
        self._is_closed.set()

    def _run(self) -> None:
        renewed_at = 0.0
        try:
            while not self._is_closed.wait(TICK_DURING_OUTAGE_S if self._store.is_unavailable else TICK_S):
                if self._store.is_unavailable:
                    renewed_at = 0.0
                    continue
                self._send_pending_refunds()
                if time.monotonic() - renewed_at >= RENEW_INTERVAL_S:
                    self._renew()
                    renewed_at = time.monotonic()
        finally:
            self._loop.reset()  # after an unexpected error the next request starts the loop again

    def _send_pending_refunds(self) -> None:
        while self._pending_refunds:
            request_id, checks, usage = self._pending_refunds[0]
            if self._shared.settle(request_id, checks, usage) is None:
                return
            self._pending_refunds.popleft()

    def _renew(self) -> None:
        now = time.monotonic()
        for request_id, lease in list(self._leases.items()):
            if lease.ends_at <= now:
                self._leases.pop(request_id, None)
        held = dict(self._leases)
        for lease in held.values():
            lease.is_in_redis = True
        self._shared.renew({request_id: lease.slots for request_id, lease in held.items()})
        for request_id, lease in held.items():
            if request_id not in self._leases:  # settled meanwhile: the renewal may have arrived after it
                self._pending_refunds.append((request_id, lease.slots, {}))
