"""
Circuit breaker of one upstream, and the state that processes share about it.

A circuit opens for an API key after five consecutive failures of its requests, and for all keys after five of several
keys, of which at most three count per key, so that the failing requests of one client do not affect the others. While a
circuit is open, one request every ten seconds is allowed as a probe; the first response closes it.

Only what an upstream did counts: a response, or its failure. A request that the upstream or the gateway rejects, or
that its client ends, proves nothing and leaves the probe to the next request.

Each process counts failures by itself. Where there is a shared store, the processes share whether a circuit is open for
all keys and which of them may send the next probe (`redis_circuits`).
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from messages_api.backend.endpoint import Endpoint
from messages_api.routing.retry_budget import RetryBudget

CONSECUTIVE_FAILURES = 5
MAX_FAILURES_OF_KEY = 3
"""How many of them count per key for the circuit of all keys: the attempts of one request."""
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

    def prefetch(self) -> None:
        """Ask for the state of known upstreams, without waiting."""

    def get_open(self, upstream: str, *, default: OpenState | None) -> OpenState | None:
        """Return the state of an open circuit, None for a closed one, `default` while the store is unavailable."""

    def set_open(self, upstream: str, state: OpenState) -> None:
        """Publish that a circuit is open, and start the wait for the first probe."""

    def set_closed(self, upstream: str) -> None: ...

    def acquire_probe(self, upstream: str) -> bool:
        """Return whether this process may send the next probe. True while the store is unavailable.

        The process has waited by its own clock before it asks.
        """

    def release_probe(self, upstream: str) -> None:
        """Let any process send the next probe immediately: this one had no result."""


class LocalState:
    """State of a process that shares nothing."""

    def prefetch(self) -> None: ...

    def get_open(self, upstream: str, *, default: OpenState | None) -> OpenState | None:
        return default

    def set_open(self, upstream: str, state: OpenState) -> None: ...

    def set_closed(self, upstream: str) -> None: ...

    def acquire_probe(self, upstream: str) -> bool:
        return True

    def release_probe(self, upstream: str) -> None: ...


@dataclass(slots=True)
class _Circuit:
    """The circuit of one key, or that of all keys."""

    failures: int = 0
    """Since the last success."""
    open_state: OpenState | None = None
    probe_at: float = 0.0
    """When the next probe is due, by the breaker's clock."""

    def open(self, reason: str, *, now: float) -> OpenState:
        """Open the circuit unless it is open. Failures of other requests do not postpone the next probe."""
        if self.open_state is None:
            self.open_state = OpenState(since=time.time(), reason=reason)
            self.probe_at = max(self.probe_at, now + PROBE_INTERVAL_S)
        return self.open_state


CLOSED = _Circuit()
"""The circuit of a key without failures. It never changes."""


class CircuitBreaker:
    """The circuits of one upstream as this process sees them, and the upstream's retry budget."""

    def __init__(self, upstream: str, store: StateStore, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.retry_budget = RetryBudget(clock=clock)
        self._upstream = upstream
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._all = _Circuit()
        self._keys: dict[int, _Circuit] = {}
        """Keys with failures since the last success."""
        self._abandoned: tuple[int, float] = (0, 0.0)
        """The key whose request ended as a probe without a result, and until when it sends no other."""
        self._refreshed_at = 0.0

    # ---- state

    @property
    def open_state(self) -> OpenState | None:
        """Since when and why the circuit is open for all keys; None while it is closed."""
        now = self._clock()
        if now - self._refreshed_at >= STATE_TTL_S:
            self._refreshed_at = now
            before = self._all.open_state
            self._all.open_state = self._store.get_open(self._upstream, default=before)
            if before is not None and self._all.open_state is None:
                self._keys.clear()  # another process has received a response, which ends the series
        return self._all.open_state

    def open_state_for(self, key_id: int | None) -> OpenState | None:
        """Since when and why the circuit is open for the requests of a key, or without a key for all."""
        return self._circuit(key_id).open_state

    def next_probe_in_s(self, key_id: int | None = None) -> float:
        """Return the seconds until a probe is due. 0 when the next request will be the probe."""
        return max(0.0, self._circuit(key_id).probe_at - self._clock())

    @property
    def consecutive_failures(self) -> int:
        """Failures since the last success, in this process."""
        return sum(circuit.failures for circuit in self._keys.values())

    @property
    def open_keys(self) -> int:
        """Number of keys with a circuit of their own that is open."""
        return sum(circuit.open_state is not None for circuit in self._keys.values())

    def _circuit(self, key_id: int | None) -> _Circuit:
        """Return the circuit that decides about the requests of a key: that of all keys once it is open."""
        if self.open_state is not None or key_id is None:
            return self._all
        return self._keys.get(key_id, CLOSED)

    # ---- requests

    def permit(self, key_id: int, *, is_evidence: bool = True) -> "Permit | None":
        """Return the permission for a request of a key: always while closed, as a probe while open, else None."""
        circuit = self._circuit(key_id)
        if circuit.open_state is None:
            return Permit(self, key_id, is_evidence=is_evidence)
        if not is_evidence:
            return None
        with self._lock:
            now = self._clock()
            if circuit.probe_at > now or (self._abandoned[0] == key_id and self._abandoned[1] > now):
                return None
            circuit.probe_at = now + PROBE_INTERVAL_S
        if circuit is self._all and not self._store.acquire_probe(self._upstream):
            circuit.probe_at = now + STATE_TTL_S  # another process has it, and may return it
            return None
        return Permit(self, key_id, is_probe=True)

    def release_probe(self, key_id: int, *, was_abandoned: bool) -> None:
        """Let the next request be the probe: the one of this key ended without a result.

        After an abandoned one, the next is of another key: a client that disconnects would otherwise take all probes.
        """
        circuit = self._circuit(key_id)
        if circuit.open_state is None:
            return  # another request has closed it
        with self._lock:
            circuit.probe_at = now = self._clock()
            if was_abandoned:
                self._abandoned = key_id, now + PROBE_INTERVAL_S
        if circuit is self._all:
            self._store.release_probe(self._upstream)

    def on_first_event(self, key_id: int) -> None:
        """Close an open circuit: the upstream responds. The response may still break off, so failures still count."""
        if self._circuit(key_id).open_state is not None:
            self.record_success()

    def record_success(self) -> None:
        """Close the circuits and reset the failure counts after a complete response."""
        with self._lock:
            was_open, self._all.open_state = self._all.open_state, None
            self._keys.clear()
        if was_open is not None:
            self._store.set_closed(self._upstream)

    def record_failure(self, reason: str, *, key_id: int) -> None:
        """Count a failed attempt that the upstream caused, and open the circuits that have reached the limit."""
        with self._lock:
            now = self._clock()
            circuit = self._keys.setdefault(key_id, _Circuit())
            circuit.failures += 1
            if circuit.failures >= CONSECUTIVE_FAILURES:
                circuit.open(reason, now=now)
            evidence = sum(min(each.failures, MAX_FAILURES_OF_KEY) for each in self._keys.values())
            if self._all.open_state is None and evidence < CONSECUTIVE_FAILURES:
                return
            state = self._all.open(reason, now=now)
        self._store.set_open(self._upstream, state)


class Permit:
    """Permission of one request to try one upstream. `end` must be called: it returns a probe without a result."""

    def __init__(
        self, breaker: CircuitBreaker, key_id: int, *, is_probe: bool = False, is_evidence: bool = True
    ) -> None:
        self._breaker = breaker
        self._key_id = key_id
        self._is_evidence = is_evidence
        self._is_unused_probe = is_probe

    def on_first_event(self) -> None:
        self._is_unused_probe = False
        if self._is_evidence:
            self._breaker.on_first_event(self._key_id)

    def record_success(self) -> None:
        self._is_unused_probe = False
        if self._is_evidence:
            self._breaker.record_success()

    def record_failure(self, reason: str) -> None:
        self._is_unused_probe = False
        if self._is_evidence:
            self._breaker.record_failure(reason, key_id=self._key_id)

    def end(self, *, was_abandoned: bool) -> None:
        """End the request. `was_abandoned`: it reached the upstream, and ended before a response."""
        if self._is_unused_probe:
            self._is_unused_probe = False
            self._breaker.release_probe(self._key_id, was_abandoned=was_abandoned)


class CircuitBreakers:
    """One circuit breaker for each endpoint, created on first use."""

    def __init__(self, state_store: StateStore | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = state_store or LocalState()
        self._clock = clock
        self._breakers: dict[str, CircuitBreaker] = {}

    def prefetch(self) -> None:
        """Ask for the shared state without waiting for it, when a request starts."""
        self._store.prefetch()

    def of(self, endpoint: Endpoint) -> CircuitBreaker:
        """Return the circuit breaker of an endpoint. A new one is closed."""
        breaker = self._breakers.get(endpoint.identity)
        if breaker is None:
            new = CircuitBreaker(endpoint.identity, self._store, clock=self._clock)
            breaker = self._breakers.setdefault(endpoint.identity, new)
        return breaker
