"""Changes of circuit breakers that wait to be written. Bounded: without a database, the oldest are lost."""

import time
from collections import deque
from dataclasses import dataclass

MAX_WAITING = 1_000


@dataclass(frozen=True, slots=True)
class CircuitChange:
    upstream: str
    """Name of the upstream."""
    change: str
    reason: str
    at: float
    """Unix time."""


class CircuitLog:
    def __init__(self) -> None:
        self._waiting: deque[CircuitChange] = deque(maxlen=MAX_WAITING)

    def note(self, identity: str, change: str, reason: str) -> None:
        """Remember a change of the circuit of an endpoint. Never waits."""
        self._waiting.append(CircuitChange(identity.partition("@")[0], change, reason, time.time()))

    def take(self) -> list[CircuitChange]:
        """Return the changes that wait, and forget them."""
        taken = []
        while self._waiting:
            taken.append(self._waiting.popleft())
        return taken

    def put_back(self, changes: list[CircuitChange]) -> None:
        """Remember changes again that could not be written, while there is room."""
        room = MAX_WAITING - len(self._waiting)
        self._waiting.extendleft(reversed(changes[-room:] if room else []))


circuit_log = CircuitLog()
"""The changes of this process."""
