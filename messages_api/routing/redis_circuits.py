"""State of circuits in Redis, shared by all processes. Entries expire unless they are renewed."""

import json
from dataclasses import asdict
from typing import Any

from lib.shared_store import SharedStore, store
from messages_api.routing.circuit_breaker import PROBE_INTERVAL_S, CircuitBreakers, OpenState

STATE_EXPIRES_S = 120
OPEN_KEY = "messages-gateway:circuit:{}"
PROBE_KEY = "messages-gateway:probe:{}"


class RedisState:
    """`circuit_breaker.StateStore` in Redis."""

    def __init__(self, store: SharedStore) -> None:
        self._store = store

    def get_open(self, upstream: str, *, default: OpenState | None) -> OpenState | None:
        unavailable = json.dumps(asdict(default)) if default else None
        stored = self._store.run(lambda redis: redis.get(OPEN_KEY.format(upstream)), default=unavailable)
        return OpenState(**json.loads(stored)) if stored else None

    def set_open(self, upstream: str, state: OpenState) -> None:
        def publish(redis: Any) -> None:
            redis.set(OPEN_KEY.format(upstream), json.dumps(asdict(state)), ex=STATE_EXPIRES_S)
            redis.set(PROBE_KEY.format(upstream), 1, nx=True, px=round(PROBE_INTERVAL_S * 1000))

        self._store.run(publish, default=None)

    def set_closed(self, upstream: str) -> None:
        self._store.run(lambda redis: redis.delete(OPEN_KEY.format(upstream), PROBE_KEY.format(upstream)), default=None)

    def acquire_probe(self, upstream: str) -> bool:
        acquired = self._store.run(
            lambda redis: redis.set(PROBE_KEY.format(upstream), 1, nx=True, px=round(PROBE_INTERVAL_S * 1000)),
            default=True,
        )
        return bool(acquired)

    def release_probe(self, upstream: str) -> None:
        self._store.run(lambda redis: redis.delete(PROBE_KEY.format(upstream)), default=None)


circuit_breakers = CircuitBreakers(RedisState(store))
"""The circuit breakers of this process."""
