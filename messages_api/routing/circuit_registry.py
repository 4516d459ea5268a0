"""Registry of the circuit breakers of this process."""

import time
from collections.abc import Callable

from lib.shared_store import store
from messages_api.backend.endpoint import Endpoint
from messages_api.routing.circuit_breaker import CircuitBreaker, LocalState, StateStore
from messages_api.routing.redis_circuits import RedisState


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


circuit_breakers = CircuitBreakers(RedisState(store))
