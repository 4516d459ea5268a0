"""
What the last calls say of each upstream: whether it is skipped for now.

A circuit opens after five failures in a row. While it is open, one call every ten seconds goes through as a probe; the
first answer closes it. Failures are counted in each process; that a circuit is open, and whose turn it is to probe, is
known to all processes where there is a shared store (`shared_circuits`).
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from messages_api.backend.endpoint import Endpoint
from messages_api.routing.retry_budget import RetryBudget

FAILURES_IN_A_ROW = 5
PROBE_EVERY_S = 10.0
LOOK_EVERY_S = 1.0
"""How old the view of what other processes know may be."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenState:
    """Since when a circuit is open, and why."""

    since: float
    """Unix time."""
    reason: str
    """The error type of the failure that opened it."""


class StateStore(Protocol):
    """What the processes of one gateway know together."""

    def opened(self, upstream: str, *, otherwise: OpenState | None) -> OpenState | None:
        """Why a circuit is open; `otherwise` while the store cannot tell."""

    def note_opened(self, upstream: str, opened: OpenState) -> None:
        """Tell the others, and begin the wait for the first probe."""

    def note_closed(self, upstream: str) -> None: ...

    def acquire_probe(self, upstream: str) -> bool:
        """Whether this process may probe now. True while the store cannot tell: it has waited by its own clock."""


class LocalState:
    """A process that shares nothing."""

    def opened(self, upstream: str, *, otherwise: OpenState | None) -> OpenState | None:
        return otherwise

    def note_opened(self, upstream: str, opened: OpenState) -> None: ...

    def note_closed(self, upstream: str) -> None: ...

    def acquire_probe(self, upstream: str) -> bool:
        return True


class CircuitBreaker:
    """The circuit of one upstream, as this process sees it."""

    def __init__(self, upstream: str, shared: StateStore, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.retries = RetryBudget(clock=clock)
        self._upstream = upstream
        self._shared = shared
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._opened: OpenState | None = None
        self._probe_at = 0.0
        self._looked_at = 0.0

    @property
    def opened(self) -> OpenState | None:
        """Why it is open; None while it is closed."""
        now = self._clock()
        if now - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = now
            was_opened, self._opened = self._opened, self._shared.opened(self._upstream, otherwise=self._opened)
            if was_opened is not None and self._opened is None:
                self._failures = 0  # another process has seen an answer, which ends the row
        return self._opened

    @property
    def next_probe_in_s(self) -> float:
        """How long until a probe is due; 0 when the next call will be one."""
        return max(0.0, self._probe_at - self._clock())

    @property
    def failures(self) -> int:
        """How many failures in a row this process has seen."""
        return self._failures

    def allows_request(self) -> bool:
        """Whether a call may go to this upstream: always while closed, as a probe every ten seconds while open."""
        if self.opened is None:
            return True
        with self._lock:
            if self.next_probe_in_s:
                return False
            self._probe_at = self._clock() + PROBE_EVERY_S
        return self._shared.acquire_probe(self._upstream)

    def answers(self) -> None:
        """The upstream begins to answer, which closes an open circuit. Whether the answer comes to an end is open."""
        if self._opened is not None:
            self._close()

    def succeeded(self) -> None:
        """The upstream gave a whole answer, or refused a request for good reason: the row of failures has ended."""
        self._failures = 0
        self.answers()

    def failed(self, reason: str) -> None:
        """An attempt failed, and the upstream is to blame."""
        with self._lock:
            self._failures += 1
            if self._opened is None and self._failures < FAILURES_IN_A_ROW:
                return
            opened = self._opened = self._opened or OpenState(since=time.time(), reason=reason)
            self._probe_at = max(self._probe_at, self._clock() + PROBE_EVERY_S)
        self._shared.note_opened(self._upstream, opened)

    def _close(self) -> None:
        with self._lock:
            self._opened, self._failures = None, 0
        self._shared.note_closed(self._upstream)


class Circuits:
    """The circuits of this process."""

    def __init__(self, shared: StateStore | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._shared = shared or LocalState()
        self._clock = clock
        self._circuits: dict[str, CircuitBreaker] = {}

    def of(self, endpoint: Endpoint) -> CircuitBreaker:
        """The circuit of an upstream. One that nothing is known of is closed."""
        circuit = self._circuits.get(endpoint.identity)
        if circuit is None:
            new = CircuitBreaker(endpoint.identity, self._shared, clock=self._clock)
            circuit = self._circuits.setdefault(endpoint.identity, new)
        return circuit
