"""
What the running calls of this process hold in the shared store.

Their places are renewed: also those of calls that were let in while the store was away, so that it knows of them once
it is back, whatever it has lost. What could not be given back is given back as soon as the store answers.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from keys.limits.redis_buckets import RedisRateLimiter
from keys.limits.terms import LimitCheck, LimitDecision, Used
from lib.shared_store import Store

RENEW_EVERY_S = 5.0
TICK_S = 1.0
TICK_WHILE_AWAY_S = 0.1  # what was let in meanwhile is to be known before others ask
MAX_OWED = 10_000


@dataclass(kw_only=True, slots=True)
class _Call:
    asks: Sequence[LimitCheck]
    ends_at: float
    is_known: bool
    """Whether the store may know of it: it did, or it was asked and did not answer."""

    @property
    def places(self) -> list[LimitCheck]:
        return [ask for ask in self.asks if ask.is_concurrency]


class ConcurrencyLeases:
    """The calls of one process, and its loop. That starts with the first call, wherever that comes (workers fork)."""

    def __init__(self, shared: RedisRateLimiter, store: Store) -> None:
        self._shared = shared
        self._store = store
        self._requests: dict[str, _Call] = {}
        self._owed: deque[tuple[str, Sequence[LimitCheck], Used]] = deque(maxlen=MAX_OWED)
        self._pid = 0
        self._is_closed = threading.Event()

    def add(self, call_id: str, asks: Sequence[LimitCheck], *, lease_s: float, is_known: bool) -> None:
        """A call runs. It is renewed for as long as `lease_s`, unless it is settled."""
        self._requests[call_id] = _Call(asks=asks, ends_at=time.monotonic() + lease_s, is_known=is_known)
        self._start()

    def _start(self) -> None:
        if self._pid != os.getpid() and not self._is_closed.is_set():
            self._pid = os.getpid()
            threading.Thread(target=self._run, name="open calls", daemon=True).start()

    def settle(self, call_id: str, used: Used) -> LimitDecision | None:
        """Give back what the call holds in the store: now, or later. None if that does not answer, or knows nothing."""
        call = self._requests.pop(call_id, None)
        if call is None or not call.is_known:
            return None
        verdict = self._shared.settle(call_id, call.asks, used)
        if verdict is None:
            self._owed.append((call_id, call.asks, used))
        return verdict

    def forget(self, call_id: str, asks: Sequence[LimitCheck]) -> None:
        """The store did not answer for a call that was not let in: what it may have taken is given back."""
        self._owed.append((call_id, asks, {}))
        self._start()

    def close(self) -> None:
        """End the loop. What is still held is free again after its lease."""
        self._is_closed.set()

    def _run(self) -> None:
        renewed_at = 0.0
        try:
            while not self._is_closed.wait(TICK_WHILE_AWAY_S if self._store.is_away else TICK_S):
                if self._store.is_away:
                    renewed_at = 0.0
                    continue
                self._give_back_owed()
                if time.monotonic() - renewed_at >= RENEW_EVERY_S:
                    self._renew()
                    renewed_at = time.monotonic()
        finally:
            self._pid = 0  # after an error of ours the next call starts the loop again

    def _give_back_owed(self) -> None:
        while self._owed:
            call_id, asks, used = self._owed[0]
            if self._shared.settle(call_id, asks, used) is None:
                return
            self._owed.popleft()

    def _renew(self) -> None:
        now = time.monotonic()
        for call_id, call in list(self._requests.items()):
            if call.ends_at <= now:
                self._requests.pop(call_id, None)
        holding = {call_id: call for call_id, call in list(self._requests.items()) if call.places}
        for call in holding.values():
            call.is_known = True
        self._shared.renew({call_id: call.places for call_id, call in holding.items()})
        for call_id, call in holding.items():
            if call_id not in self._requests:  # settled meanwhile: the renewal may have come after it
                self._owed.append((call_id, call.places, {}))
