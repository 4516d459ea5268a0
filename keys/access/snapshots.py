"""
Snapshots of API keys: the immutable view that a request works with, cached in each process.

An entry is valid for CONFIG_CACHE_TTL_S (5 s), so a revocation is effective in every process within that time without
a message bus. Entries are keyed by the full digest and never changed, so a request that ends after a revocation cannot
restore the old view. Concurrent requests with the same key share one lookup.
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
from keys.models import APIKey, Budget, KeySecret, KeyState
from keys.models.access_policy import AccessPolicy
from lib import database_health, deadlines
from lib.expiry import has_expired
from lib.networks import Network, network

MISS_TTL_S = 2.0
MAX_ENTRIES = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """A key as it was at most CONFIG_CACHE_TTL_S (5 s) ago."""

    key_id: int
    public_id: str
    secret_id: int
    team_id: int | None = None
    owner_id: int | None = None
    allowed_models: tuple[str, ...] = ()
    """Model patterns of the key. Empty: every model."""
    team_models: tuple[str, ...] = ()
    """Model patterns of its team, which apply in addition."""
    networks: tuple[Network, ...] = ()
    """The IP allowlist. Empty: no restriction."""
    limits: tuple[Limits, ...] = ()
    """Limits of the key and of its team, if they have any."""
    budgets: tuple[BudgetRef, ...] = ()
    """Budgets of the key and of its team."""
    is_enabled: bool
    """Whether no state but an expiry blocks the key."""
    expires_at: datetime | None
    """The earlier of the key's and the secret's expiry."""

    def is_usable(self) -> bool:
        return self.is_enabled and not has_expired(self.expires_at, now=timezone.now())


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

    @property
    def expires_at(self) -> float:
        """Counted from the start of the lookup: the database may have read its result then."""
        return self.started_at + (MISS_TTL_S if self.snapshot is None else settings.CONFIG_CACHE_TTL_S)


class SnapshotCache:
    """Snapshots by digest, and None for digests of no key. Bounded: the oldest entry is dropped first."""

    def __init__(self) -> None:
        self._entries: OrderedDict[bytes, tuple[float, Snapshot | None]] = OrderedDict()
        self._pending: dict[bytes, PendingLookup] = {}
        self._lock = threading.Lock()

    def find(self, raw: str, *, client_ip: str | None = None) -> Snapshot | None:
        """Return the snapshot of a well-formed raw key, or None for an unknown one.

        Raise LedgerUnavailable if the lookup fails, and RateLimitExceeded after too many invalid keys from the
        client's IP address.
        """
        digests = raw_key.possible_digests(raw, peppers=settings.API_KEY_PEPPERS)
        entry = self._entries.get(digests[0])
        if entry is not None and entry[0] > time.monotonic():
            return entry[1]
        if entry is not None and entry[1] is not None:
            client_ip = None  # a key that existed a moment ago is not a guess: no throttle
        return self._share_lookup(digests, client_ip)

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
                snapshot = _load(digests)
                lookup.is_unknown_key = snapshot is None
            pending.set_result(snapshot)
            self._store(digests[0], pending)
        finally:
            del self._pending[digests[0]]
            pending.ended.set()
        return pending.snapshot

    def _store(self, digest: bytes, lookup: PendingLookup) -> None:
        with self._lock:
            self._entries[digest] = (lookup.expires_at, lookup.snapshot)
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
            secrets = KeySecret.objects.select_related("api_key__owner", "api_key__team")
            secret = secrets.filter(digest__in=digests).first()
            return None if secret is None else _snapshot(secret)
    except (OperationalError, InterfaceError) as error:
        raise LedgerUnavailable from error


def by_public_id(public_id: str) -> Snapshot:
    """Return an uncached snapshot of a key with its newest secret. Raise LookupError for an unknown ID."""
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
        team_id=api_key.team_id,
        owner_id=api_key.owner_id,
        allowed_models=tuple(api_key.allowed_models),
        team_models=tuple(team.allowed_models) if team else (),
        networks=tuple(map(network, api_key.allowed_ips)),
        limits=tuple(limits for limits in (_limits("key", api_key), _limits("team", team)) if limits),
        budgets=_budgets(api_key),
        # Expiry is checked per request, because the key may expire while its snapshot is cached.
        is_enabled=not set(api_key.blocking_states()) - {KeyState.EXPIRED},
        expires_at=min(expiries, default=None),
    )


def _limits(scope: str, policy: AccessPolicy | None) -> Limits | None:
    limits = Limits.of(scope, policy) if policy is not None else None
    return limits if limits is not None and limits.has_any else None


def _budgets(api_key: APIKey) -> tuple[BudgetRef, ...]:
    """Return the budgets in the order of their ids, in which the ledger locks them."""
    of_team = Q(team_id=api_key.team_id) if api_key.team_id else Q()
    rows = Budget.objects.filter(Q(api_key=api_key) | of_team).order_by("pk")
    return tuple(
        BudgetRef(id=row.pk, scope="key" if row.api_key_id else "team", period=row.period, unit=row.unit)
        for row in rows
    )


cache = SnapshotCache()
