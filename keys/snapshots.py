"""
The cached, immutable view of a key that authentication hands on.

Each process keeps what it read for `settings.SNAPSHOT_TTL_S` (5 s), so revocation is effective everywhere within that
time with no message bus. The cache is keyed by the full digest; nothing in it is ever changed, so a call that ends
after a revocation cannot bring the old view back. Callers that show the same key at the same time share one look-up.
"""

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.utils import timezone

from keys import hashing, ledger, patience
from keys.errors import LedgerUnavailable
from keys.models import KeySecret

MISS_TTL_S = 2.0
MAX_ENTRIES = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """A key as it was at most five seconds ago."""

    key_id: int
    public_id: str
    secret_id: int
    allowed_models: tuple[str, ...]
    """Names, or prefixes that end in `*`; empty for every model."""
    is_open: bool
    """Neither revoked nor disabled, and its owner is active."""
    expires_at: datetime | None
    """The earlier of the key's and the secret's expiry."""

    def is_usable(self) -> bool:
        return self.is_open and (self.expires_at is None or self.expires_at > timezone.now())


class LookUp:
    """One question to the database, and everybody who waits for its answer."""

    def __init__(self) -> None:
        self.begun_at = time.monotonic()
        self.is_over = threading.Event()
        self.is_answered = False
        self.snapshot: Snapshot | None = None

    def answer(self, snapshot: Snapshot | None) -> None:
        self.snapshot = snapshot
        self.is_answered = True

    def wait(self) -> Snapshot | None:
        """What was found. Raise LedgerUnavailable when the database did not tell, or not in time."""
        if not self.is_over.wait(settings.LEDGER_WAIT_S) or not self.is_answered:
            raise LedgerUnavailable
        return self.snapshot

    @property
    def stands_until(self) -> float:
        """Counted from the question: the answer may be as old as that."""
        return self.begun_at + (MISS_TTL_S if self.snapshot is None else settings.SNAPSHOT_TTL_S)


class SnapshotCache:
    """Digest → Snapshot, or None for a digest that no key has. Bounded, oldest entries go first."""

    def __init__(self) -> None:
        self._entries: OrderedDict[bytes, tuple[float, Snapshot | None]] = OrderedDict()
        self._running: dict[bytes, LookUp] = {}
        self._lock = threading.Lock()

    def find(self, raw: str) -> Snapshot | None:
        """The snapshot of a well-formed raw key, or None. Raise LedgerUnavailable when the database cannot tell."""
        digests = [hashing.digest(raw, pepper=pepper) for pepper in settings.API_KEY_PEPPERS]
        entry = self._entries.get(digests[0])
        if entry is not None and entry[0] > time.monotonic():
            return entry[1]
        with self._lock:
            running = self._running.get(digests[0])
            if running is None:
                mine = self._running[digests[0]] = LookUp()
        return running.wait() if running is not None else self._look_up(mine, digests)

    def _look_up(self, look_up: LookUp, digests: list[bytes]) -> Snapshot | None:
        try:
            look_up.answer(_load(digests))
            self._keep(digests[0], look_up)
        finally:
            del self._running[digests[0]]
            look_up.is_over.set()
        return look_up.snapshot

    def _keep(self, digest: bytes, look_up: LookUp) -> None:
        with self._lock:
            self._entries[digest] = (look_up.stands_until, look_up.snapshot)
            self._entries.move_to_end(digest)
            while len(self._entries) > MAX_ENTRIES:
                self._entries.popitem(last=False)

    def clear(self) -> None:
        self._entries.clear()


def _load(digests: list[bytes]) -> Snapshot | None:
    if ledger.is_away():
        raise LedgerUnavailable  # nobody would be let in: do not even ask
    try:
        with patience.at_most(settings.LEDGER_WAIT_S):
            secret = KeySecret.objects.select_related("api_key__owner").filter(digest__in=digests).first()
    except (OperationalError, InterfaceError) as error:
        raise LedgerUnavailable from error
    if secret is None:
        return None
    api_key = secret.api_key
    expiries = [moment for moment in (api_key.expires_at, secret.expires_at) if moment]
    return Snapshot(
        key_id=api_key.pk,
        public_id=api_key.public_id,
        secret_id=secret.pk,
        allowed_models=tuple(api_key.allowed_models),
        is_open=api_key.revoked_at is None and api_key.disabled_at is None and api_key.owner.is_active,
        expires_at=min(expiries, default=None),
    )


cache = SnapshotCache()
