"""
Leases of concurrency slots: renews in Redis what the in-flight requests of this process hold, and reports to Redis that
this process runs.

Requests that were admitted while Redis was unavailable are renewed as well, so that Redis learns of them when it
recovers, whatever data it lost. Refunds that failed are repeated as soon as Redis is available.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import uuid4

from keys.limits.checks import LimitCheck, LimitDecision, Usage
from keys.limits.presence import Presence
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

    def __init__(
        self,
        shared: RedisRateLimiter,
        store: SharedStore,
        presence: Presence,
        *,
        on_report: Callable[[Mapping[str, int]], None] = lambda slots: None,
    ) -> None:
        self._shared = shared
        self._store = store
        self._presence = presence
        self._on_report = on_report
        self._leases: dict[str, _Lease] = {}
        self._pending_refunds: deque[tuple[str, Sequence[LimitCheck], Usage]] = deque(maxlen=MAX_PENDING_REFUNDS)
        self._loop = OncePerProcess(self._start_loop)
        self._is_closed = False
        self._wake_up = threading.Event()
        self._is_renewal_due = False

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
        if not self._is_closed:
            self._loop.ensure()

    def _start_loop(self) -> None:
        threading.Thread(target=self._run, args=(uuid4().hex,), name="limit leases", daemon=True).start()

    def renew_soon(self) -> None:
        """Renew everything immediately: Redis has lost its data."""
        self._is_renewal_due = True
        self._wake_up.set()

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
        self._is_closed = True
        self._wake_up.set()

    def _run(self, worker: str) -> None:
        self._is_renewal_due = True
        renewed_at = 0.0
        try:
            while not self._is_closed:
                if self._store.is_unavailable:
                    self._is_renewal_due = True
                else:
                    self._send_pending_refunds()
                    used = self._presence.report(worker)
                    if used is not None:
                        self._on_report(used)
                    if self._is_renewal_due or time.monotonic() - renewed_at >= RENEW_INTERVAL_S:
                        self._is_renewal_due = False
                        renewed_at = time.monotonic()
                        self._renew()
                self._wake_up.wait(TICK_DURING_OUTAGE_S if self._store.is_unavailable else TICK_S)
                self._wake_up.clear()
            self._presence.withdraw(worker)
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
