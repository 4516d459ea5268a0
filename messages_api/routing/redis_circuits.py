"""What all processes know of the circuits, in the shared store. Each entry goes by itself when nobody renews it."""

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Protocol, TypeVar

from messages_api.routing.circuit_breaker import PROBE_EVERY_S, OpenState

KEPT_S = 120
OPEN = "messages-gateway:circuit:{}"
TURN = "messages-gateway:probe:{}"
Result = TypeVar("Result")


class Store(Protocol):
    def run(self, command: Callable[[Any], Result], *, otherwise: Result) -> Result:
        """What a command to Redis returns; `otherwise` while there is none to ask."""


class SharedCircuits:
    """`circuits.StateStore` over Redis."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def opened(self, upstream: str, *, otherwise: OpenState | None) -> OpenState | None:
        unknown = json.dumps(asdict(otherwise)) if otherwise else None
        kept = self._store.run(lambda redis: redis.get(OPEN.format(upstream)), otherwise=unknown)
        return OpenState(**json.loads(kept)) if kept else None

    def note_opened(self, upstream: str, opened: OpenState) -> None:
        def note(redis: Any) -> None:
            redis.set(OPEN.format(upstream), json.dumps(asdict(opened)), ex=KEPT_S)
            redis.set(TURN.format(upstream), 1, nx=True, px=round(PROBE_EVERY_S * 1000))

        self._store.run(note, otherwise=None)

    def note_closed(self, upstream: str) -> None:
        self._store.run(lambda redis: redis.delete(OPEN.format(upstream), TURN.format(upstream)), otherwise=None)

    def acquire_probe(self, upstream: str) -> bool:
        took = self._store.run(
            lambda redis: redis.set(TURN.format(upstream), 1, nx=True, px=round(PROBE_EVERY_S * 1000)), otherwise=True
        )
        return bool(took)
