"""
The cached, immutable view of a key that authentication hands on.

Each process keeps what it read for `settings.CONFIG_CACHE_TTL_S` (5 s), so revocation is effective everywhere within
that time with no message bus. The cache is keyed by the full digest; nothing in it is ever changed, so a call that ends
after a revocation cannot bring the old view back. Callers that show the same key at the same time share one look-up.
"""

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.db.models import Q
from django.utils import timezone

from keys.access.lookup_throttle import lookup_throttle
from keys.budgets.reservations import BudgetRef
from keys.domain import raw_key
from keys.errors import LedgerUnavailable
from keys.limits.limiter import Limits
from keys.models import APIKey, Budget, KeySecret, KeyState, Team
from lib import database_health, deadlines
from lib.expiry import has_expired
from lib.networks import Network, network

MISS_TTL_S = 2.0
MAX_ENTRIES = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """A key as it was at most five seconds ago."""

    key_id: int
    public_id: str
    secret_id: int
    allowed_models: tuple[str, ...] = ()
    """Names, or prefixes that end in `*`; empty for every model."""
    team_models: tuple[str, ...] = ()
    """The same of its team: both hold."""
    networks: tuple[Network, ...] = ()
    """Where its calls may come from; empty for everywhere."""
    limits: tuple[Limits, ...] = ()
    """Those of the key and of its team, as far as they have any."""
    budgets: tuple[BudgetRef, ...] = ()
    """The same."""
    is_enabled: bool
    """Neither the key nor its team is revoked or disabled, and its owner is active."""
    expires_at: datetime | None
    """The earlier of the key's and the secret's expiry."""

    def is_usable(self) -> bool:
        return self.is_enabled and not has_expired(self.expires_at, now=timezone.now())


class PendingLookup:
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
        if not self.is_over.wait(settings.DATABASE_TIMEOUT_S) or not self.is_answered:
            raise LedgerUnavailable
        return self.snapshot

    @property
    def expires_at(self) -> float:
        """Counted from the question: the answer may be as old as that."""
        return self.begun_at + (MISS_TTL_S if self.snapshot is None else settings.CONFIG_CACHE_TTL_S)


class SnapshotCache:
    """Digest → Snapshot, or None for a digest that no key has. Bounded, oldest entries go first."""

    def __init__(self) -> None:
        self._entries: OrderedDict[bytes, tuple[float, Snapshot | None]] = OrderedDict()
        self._running: dict[bytes, PendingLookup] = {}
        self._lock = threading.Lock()

    def find(self, raw: str, *, address: str | None = None) -> Snapshot | None:
        """The snapshot of a well-formed raw key, or None.

        Raise LedgerUnavailable when the database cannot tell, and LimitReached when it is not asked because too many
        unknown keys have come from the caller's address.
        """
        digests = [raw_key.digest(raw, pepper=pepper) for pepper in settings.API_KEY_PEPPERS]
        entry = self._entries.get(digests[0])
        if entry is not None and entry[0] > time.monotonic():
            return entry[1]
        if entry is not None and entry[1] is not None:
            address = None  # it has been met before, so it is no guess
        return self._find_anew(digests, address)

    def _find_anew(self, digests: list[bytes], address: str | None) -> Snapshot | None:
        """Ask the database, once for all who want to know the same."""
        with self._lock:
            running = self._running.get(digests[0])
            if running is None:
                mine = self._running[digests[0]] = PendingLookup()
        return running.wait() if running is not None else self._look_up(mine, digests, address)

    def _look_up(self, look_up: PendingLookup, digests: list[bytes], address: str | None) -> Snapshot | None:
        try:
            look_up.answer(lookup_throttle.look_up(address, lambda: _load(digests)))
            self._keep(digests[0], look_up)
        finally:
            del self._running[digests[0]]
            look_up.is_over.set()
        return look_up.snapshot

    def _keep(self, digest: bytes, look_up: PendingLookup) -> None:
        with self._lock:
            self._entries[digest] = (look_up.expires_at, look_up.snapshot)
            self._entries.move_to_end(digest)
            while len(self._entries) > MAX_ENTRIES:
                self._entries.popitem(last=False)

    def clear(self) -> None:
        self._entries.clear()


def _load(digests: list[bytes]) -> Snapshot | None:
    if database_health.is_unavailable():
        raise LedgerUnavailable  # nobody would be let in: do not even ask
    try:
        with deadlines.deadline(settings.DATABASE_TIMEOUT_S):
            secrets = KeySecret.objects.select_related("api_key__owner", "api_key__team")
            secret = secrets.filter(digest__in=digests).first()
            return None if secret is None else _snapshot(secret)
    except (OperationalError, InterfaceError) as error:
        raise LedgerUnavailable from error


def of_key(public_id: str) -> Snapshot:
    """A key as its newest secret shows it, uncached, for those who look at keys. Raise LookupError for none."""
    secrets = KeySecret.objects.select_related("api_key__owner", "api_key__team").filter(api_key__public_id=public_id)
    secret = secrets.order_by("created_at").last()
    if secret is None:
        raise LookupError(public_id)
    return _snapshot(secret)


def _snapshot(secret: KeySecret) -> Snapshot:
    api_key = secret.api_key
    team = api_key.team
    expiries = [moment for moment in (api_key.expires_at, secret.expires_at) if moment]
    return Snapshot(
        key_id=api_key.pk,
        public_id=api_key.public_id,
        secret_id=secret.pk,
        allowed_models=tuple(api_key.allowed_models),
        team_models=tuple(team.allowed_models) if team else (),
        networks=tuple(map(network, api_key.allowed_ips)),
        limits=tuple(limits for limits in (_limits("key", api_key), _limits("team", team)) if limits),
        budgets=_budgets(api_key),
        # Expiry is evaluated at each request: the snapshot may outlive the key.
        is_enabled=not set(api_key.blocking_states()) - {KeyState.EXPIRED},
        expires_at=min(expiries, default=None),
    )


def _limits(scope: str, rules: APIKey | Team | None) -> Limits | None:
    limits = Limits.of(scope, rules) if rules is not None else None
    return limits if limits is not None and limits.has_any else None


def _budgets(api_key: APIKey) -> tuple[BudgetRef, ...]:
    """In the order of their ids, which is that in which they are locked."""
    of_team = Q(team_id=api_key.team_id) if api_key.team_id else Q()
    rows = Budget.objects.filter(Q(api_key=api_key) | of_team).order_by("pk")
    return tuple(
        BudgetRef(id=row.pk, scope="key" if row.api_key_id else "team", period=row.period, unit=row.unit)
        for row in rows
    )


cache = SnapshotCache()
