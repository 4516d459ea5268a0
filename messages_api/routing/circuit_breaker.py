"""
Circuit breaker of one upstream, and the state that processes share about it.

A circuit opens after five consecutive failures. While it is open, one request every ten seconds is allowed as a probe;
the first response closes it. Each process counts failures by itself. Where there is a shared store, the processes share
whether a circuit is open and which of them may send the next probe (`redis_circuits`).
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from messages_api.backend.endpoint import Endpoint
from messages_api.routing.retry_budget import RetryBudget

CONSECUTIVE_FAILURES = 5
PROBE_INTERVAL_S = 10.0
STATE_TTL_S = 1.0
"""Maximum age of this process's copy of the shared state."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenState:
    """Since when a circuit is open, and why."""

    since: float
    """Unix time."""
    reason: str
    """Error type of the failure that opened it."""


class StateStore(Protocol):
    """State of the circuits that the processes of one gateway share."""

    def get_open(self, upstream: str, *, default: OpenState | None) -> OpenState | None:
        """Return the state of an open circuit, None for a closed one, `default` while the store is unavailable."""

    def set_open(self, upstream: str, state: OpenState) -> None:
        """Publish that a circuit is open, and start the wait for the first probe."""

    def set_closed(self, upstream: str) -> None: ...

    def acquire_probe(self, upstream: str) -> bool:
        """Return whether this process may send the next probe. True while the store is unavailable.

        The process has waited by its own clock before it asks.
        """


class LocalState:
    """State of a process that shares nothing."""

    def get_open(self, upstream: str, *, default: OpenState | None) -> OpenState | None:
        return default

    def set_open(self, upstream: str, state: OpenState) -> None: ...

    def set_closed(self, upstream: str) -> None: ...

    def acquire_probe(self, upstream: str) -> bool:
        return True


class CircuitBreaker:
    """The circuit of one upstream as this process sees it, and the upstream's retry budget."""

    def __init__(self, upstream: str, store: StateStore, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.retry_budget = RetryBudget(clock=clock)
        self._upstream = upstream
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._open_state: OpenState | None = None
        self._probe_at = 0.0
        self._refreshed_at = 0.0

    @property
    def open_state(self) -> OpenState | None:
        """Since when and why the circuit is open; None while it is closed."""
        now = self._clock()
        if now - self._refreshed_at >= STATE_TTL_S:
            self._refreshed_at = now
            before, self._open_state = self._open_state, self._store.get_open(self._upstream, default=self._open_state)
            if before is not None and self._open_state is None:
                self._failures = 0  # another process has received a response, which ends the series
        return self._open_state

    @property
    def next_probe_in_s(self) -> float:
        """Seconds until a probe is due; 0 when the next request will be the probe."""
        return max(0.0, self._probe_at - self._clock())

    @property
    def consecutive_failures(self) -> int:
        """Failures since the last success, in this process."""
        return self._failures

    def allows_request(self) -> bool:
        """Return whether a request may go to this upstream: always while closed, as a probe while open."""
        if self.open_state is None:
            return True
        with self._lock:
            if self.next_probe_in_s:
                return False
            self._probe_at = self._clock() + PROBE_INTERVAL_S
        return self._store.acquire_probe(self._upstream)

    def on_first_event(self) -> None:
        """Close an open circuit: the upstream responds. The response may still break off, so failures still count."""
        if self._open_state is not None:
            self._close()

    def record_success(self) -> None:
        """Reset the failure count after a complete response, or after an error that the request itself caused."""
        self._failures = 0
        self.on_first_event()

    def record_failure(self, reason: str) -> None:
        """Count a failed attempt that the upstream caused, and open the circuit at the limit."""
        with self._lock:
            self._failures += 1
            if self._open_state is None and self._failures < CONSECUTIVE_FAILURES:
                return
            state = self._open_state = self._open_state or OpenState(since=time.time(), reason=reason)
            self._probe_at = max(self._probe_at, self._clock() + PROBE_INTERVAL_S)
        self._store.set_open(self._upstream, state)

    def _close(self) -> None:
        with self._lock:
            self._open_state, self._failures = None, 0
        self._store.set_closed(self._upstream)


class CircuitBreakers:
    """One circuit breaker for each endpoint, created on first use."""

    def __init__(self, state_store: StateStore | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = state_store or LocalState()
        self._clock = clock
        self._breakers: dict[str, CircuitBreaker] = {}

    def of(self, endpoint: Endpoint) -> CircuitBreaker:
        """Return the circuit breaker of an endpoint. A new one is closed."""
        breaker = self._breakers.get(endpoint.identity)
        if breaker is None:
            new = CircuitBreaker(endpoint.identity, self._store, clock=self._clock)
            breaker = self._breakers.setdefault(endpoint.identity, new)
        return breaker
