"""
Cache of the snapshots of API keys, one in each process.

An entry is valid for CONFIG_CACHE_TTL_S (5 s), so a revocation is effective in every process within that time without
a message bus. Snapshots are keyed by the full digest and never changed, so a request that ends after a revocation
cannot restore the old view. The keys in use are read again in the background, in bulk, before their entries expire: a
request looks up only keys that are new. Concurrent requests with the same key share one lookup.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence

from django.conf import settings
from django.db import InterfaceError, OperationalError

from keys.access import snapshots
from keys.access.lookup_throttle import lookup_throttle
from keys.access.snapshots import Rows, Snapshot
from keys.domain import raw_key
from keys.errors import LedgerUnavailable
from lib import database_health, deadlines
from lib.pace import pace

MISS_TTL_S = 2.0
MAX_ENTRIES = 20_000
REFRESH_INTERVAL_S = 1.0
"""Time between two runs of `refresh`."""
REFRESH_AHEAD_S = 2 * REFRESH_INTERVAL_S
"""Entries that expire within this time are read again."""
IN_USE_S = 60.0
"""How long after its last request a key is read again. One lookup takes as long as a hundred bulk reads of a key."""
BULK_KEYS = 500
"""Keys per query: other requests wait for it where the database is in the process, as SQLite is."""


class PendingLookup:
    """A lookup in progress that concurrent requests with the same key wait for."""

    def __init__(self) -> None:
        self.started_at = time.monotonic()
        self.ended = threading.Event()
        self.has_result = False
        self.snapshot: Snapshot | None = None

    def set_result(self, snapshot: Snapshot | None) -> None:
        self.snapshot = snapshot
        self.has_result = True

    def wait(self) -> Snapshot | None:
        """Return the result. Raise LedgerUnavailable if the lookup fails or exceeds DATABASE_TIMEOUT_S."""
        if not self.ended.wait(settings.DATABASE_TIMEOUT_S) or not self.has_result:
            raise LedgerUnavailable
        return self.snapshot


class _Entry:
    """A cached snapshot, or None for a digest of no key."""

    __slots__ = ("expires_at", "read_at", "rows", "snapshot", "used_at")

    def __init__(self, snapshot: Snapshot | None, *, read_at: float, used_at: float, rows: Rows | None = None) -> None:
        self.snapshot = snapshot
        self.read_at = read_at
        """Start of the read: the database may have read its result then."""
        self.expires_at = read_at + (MISS_TTL_S if snapshot is None else settings.CONFIG_CACHE_TTL_S)
        self.used_at = used_at
        """Time of the last request."""
        self.rows = rows
        """The rows of which the snapshot was made; None if it was read by a lookup."""


class SnapshotCache:
    """Snapshots by digest, and None for digests of no key. Bounded: the oldest entry is dropped first."""

    def __init__(self) -> None:
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._pending: dict[bytes, PendingLookup] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, raw: str, *, client_ip: str | None = None) -> Snapshot | None:
        """Return the snapshot of a well-formed raw key, or None for an unknown one.

        Raise LedgerUnavailable if the lookup fails, and RateLimitExceeded after too many invalid keys from the
        client's IP address.
        """
        peppers = settings.API_KEY_PEPPERS
        entry = self._entries.get(raw_key.digest(raw, pepper=peppers[0]))
        now = time.monotonic()
        if entry is not None and entry.expires_at > now:
            entry.used_at = now
            return entry.snapshot
        if entry is not None and entry.snapshot is not None:
            client_ip = None  # a key that existed a moment ago is not a guess: no throttle
        return self._share_lookup(raw_key.possible_digests(raw, peppers=peppers), client_ip)

    def refresh(self) -> None:
        """Read the keys in use whose entries expire soon, in bulk. Runs every REFRESH_INTERVAL_S.

        Raise OperationalError or InterfaceError while the database is unavailable. The entries then expire.
        """
        now = time.monotonic()
        due = [
            (digest, entry)
            for digest, entry in list(self._entries.items())
            if entry.snapshot is not None
            and entry.expires_at < now + REFRESH_AHEAD_S
            and entry.used_at > now - IN_USE_S
        ]
        step = pace()
        for first in range(0, len(due), BULK_KEYS):
            if database_health.is_unavailable():
                return
            self._refresh(due[first : first + BULK_KEYS])
            step()

    def _refresh(self, due: Sequence[tuple[bytes, _Entry]]) -> None:
        started_at = time.monotonic()
        known = {entry.snapshot.secret_id: entry for _, entry in due if entry.snapshot is not None}
        with deadlines.deadline(settings.DATABASE_TIMEOUT_S):
            rows = snapshots.read_rows(known)
            changed = [secret_id for secret_id, found in rows.items() if found != known[secret_id].rows]
            loaded = snapshots.load_all(changed)
        for digest, entry in due:
            assert entry.snapshot is not None
            secret_id = entry.snapshot.secret_id
            current = loaded.get(secret_id, entry.snapshot) if secret_id in rows else None
            with self._lock:
                cached = self._entries.get(digest)
                if cached is not None and cached.read_at < started_at:  # otherwise a lookup has read it later
                    used_at = cached.used_at
                    self._put(digest, _Entry(current, read_at=started_at, used_at=used_at, rows=rows.get(secret_id)))

    def _share_lookup(self, digests: list[bytes], client_ip: str | None) -> Snapshot | None:
        """Look the key up, or wait for a lookup of the same key that another thread has started."""
        with self._lock:
            other = self._pending.get(digests[0])
            if other is None:
                own = self._pending[digests[0]] = PendingLookup()
        return other.wait() if other is not None else self._look_up(own, digests, client_ip)

    def _look_up(self, pending: PendingLookup, digests: list[bytes], client_ip: str | None) -> Snapshot | None:
        try:
            with lookup_throttle.lookup(client_ip) as lookup:
                found = _load(digests)
                lookup.is_unknown_key = found is None
            pending.set_result(found)
            with self._lock:
                self._put(digests[0], _Entry(found, read_at=pending.started_at, used_at=time.monotonic()))
        finally:
            del self._pending[digests[0]]
            pending.ended.set()
        return pending.snapshot

    def _put(self, digest: bytes, entry: _Entry) -> None:
        self._entries[digest] = entry
        self._entries.move_to_end(digest)
        while len(self._entries) > MAX_ENTRIES:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        self._entries.clear()


def _load(digests: list[bytes]) -> Snapshot | None:
    if database_health.is_unavailable():
        raise LedgerUnavailable  # the request would be rejected anyway: spare the database a query
    try:
        with deadlines.deadline(settings.DATABASE_TIMEOUT_S):
            return snapshots.by_digest(digests)
    except (OperationalError, InterfaceError) as error:
        raise LedgerUnavailable from error


cache = SnapshotCache()
