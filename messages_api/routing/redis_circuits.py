"""State of circuits in Redis, shared by all processes. Entries expire unless they are renewed."""

import json
import time
from dataclasses import asdict
from typing import Any

from lib.redis_pipeline import Command
from lib.shared_store import SharedStore, store
from messages_api.routing.circuit_breaker import PROBE_INTERVAL_S, STATE_TTL_S, CircuitBreakers, OpenState

STATE_EXPIRES_S = 120
OPEN_KEY = "messages-gateway:circuit:{}"
PROBE_KEY = "messages-gateway:probe:{}"
MAX_PREFETCHED = 100
PREFETCH_INTERVAL_S = 0.25  # what is older is asked for again: a circuit keeps its copy for another second
MAX_REASON_LENGTH = 64


class RedisState:
    """`circuit_breaker.StateStore` in Redis."""

    def __init__(self, store: SharedStore) -> None:
        self._store = store
        self._prefetched: dict[str, Command | None] = {}
        """The pending or received reply for each upstream whose state was read before."""
        self._prefetched_at = 0.0

    def prefetch(self) -> None:
        """Ask for the state of known upstreams without waiting, at most four times per second.

        A request asks before it waits for its limits: both replies arrive in one round trip.
        """
        now = time.monotonic()
        if now - self._prefetched_at < PREFETCH_INTERVAL_S or not self._prefetched:
            return
        self._prefetched_at = now
        for upstream, command in list(self._prefetched.items())[:MAX_PREFETCHED]:
            if command is None or command.is_done:  # a request that waits for a reply would wait for a later one
                self._prefetched[upstream] = self._store.send("GET", OPEN_KEY.format(upstream))

    def get_open(self, upstream: str, *, default: OpenState | None) -> OpenState | None:
        """Return the state of an open circuit. An unreadable entry counts as if Redis were unavailable."""
        command = self._prefetched.get(upstream)
        self._prefetched[upstream] = None  # each reply is used once
        if command is None or _is_old(command):
            command = self._store.send("GET", OPEN_KEY.format(upstream))
        lost = object()
        stored = self._store.reply_of(command, default=lost)
        if stored is None:
            return None
        return default if stored is lost else _parsed(stored) or default

    def set_open(self, upstream: str, state: OpenState) -> None:
        entry = json.dumps(asdict(state))
        self._store.execute_all(
            [("SET", OPEN_KEY.format(upstream), entry, "EX", STATE_EXPIRES_S), self._take_probe(upstream)]
        )

    def set_closed(self, upstream: str) -> None:
        self._store.execute("DEL", OPEN_KEY.format(upstream), PROBE_KEY.format(upstream), default=None)

    def acquire_probe(self, upstream: str) -> bool:
        replies = self._store.execute_all([self._take_probe(upstream), ("PTTL", PROBE_KEY.format(upstream))])
        if replies is None:
            return True
        acquired, expires_in_ms = replies
        if acquired is None and expires_in_ms == -1:  # of no gateway: it would never expire
            self.release_probe(upstream)
        return acquired is not None

    def release_probe(self, upstream: str) -> None:
        self._store.execute("DEL", PROBE_KEY.format(upstream), default=None)

    def _take_probe(self, upstream: str) -> tuple[Any, ...]:
        return ("SET", PROBE_KEY.format(upstream), 1, "NX", "PX", round(PROBE_INTERVAL_S * 1000))


def _is_old(command: Command) -> bool:
    """Return whether a reply arrived too long ago, however long it took: a slow server costs one round trip."""
    return command.is_done and time.monotonic() - command.ended_at >= STATE_TTL_S / 2


def _parsed(stored: str) -> OpenState | None:
    """Return the state that an entry describes, or None: any program can have written it."""
    try:
        fields = json.loads(stored)
        since, reason = float(fields["since"]), fields["reason"]
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
        return None
    if not (
        isinstance(reason, str) and len(reason) <= MAX_REASON_LENGTH and 0 <= since <= time.time() + STATE_EXPIRES_S
    ):
        return None
    return OpenState(since=since, reason=reason)


circuit_breakers = CircuitBreakers(RedisState(store))
"""The circuit breakers of this process."""
