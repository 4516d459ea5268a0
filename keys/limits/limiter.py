"""
The limiter: requests and tokens per minute and concurrent requests, of a key and of its team.

`consume` takes everything that a request needs before it is admitted, or nothing; `settle` replaces the token estimate
by the actual usage; `release` refunds everything. Limits are counted in Redis where it is configured, and in this
process otherwise: while Redis is unavailable, each worker enforces its share. A limit is never unenforced.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from keys.domain.limits import CONCURRENCY, REQUESTS, TOKENS, LimitExceeded
from keys.limits.checks import LimitCheck, LimitDecision, Usage
from keys.limits.headers import exceeded_limit, rate_limit_error, rate_limit_headers
from keys.limits.leases import ConcurrencyLeases
from keys.limits.local_buckets import LocalRateLimiter, monotonic_ms
from keys.limits.redis_buckets import RedisRateLimiter
from lib.shared_store import Store, store


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """The limits of one scope. None: unlimited."""

    scope: str
    """`key` or `team`."""
    id: str
    """The prefix of the counters, such as `team:7`."""
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None
    is_shadow: bool = False
    """Shadow mode: evaluate and record, but do not enforce."""

    @classmethod
    def of(cls, scope: str, policy: Any) -> "Limits":
        """Return the limits of a key or of a team."""
        return cls(
            scope=scope,
            id=f"{scope}:{policy.pk}",
            requests_per_minute=policy.requests_per_minute,
            tokens_per_minute=policy.tokens_per_minute,
            concurrent_requests=policy.concurrent_requests,
            is_shadow=policy.shadow_mode,
        )

    @property
    def has_any(self) -> bool:
        return (self.requests_per_minute, self.tokens_per_minute, self.concurrent_requests) != (None, None, None)

    def checks(self, *, tokens: int) -> list[LimitCheck]:
        """Return what a request with so many tokens needs of each limit."""
        needed = (
            (REQUESTS, self.requests_per_minute, 1),
            (TOKENS, self.tokens_per_minute, max(1, tokens)),
            (CONCURRENCY, self.concurrent_requests, 1),
        )
        return [
            LimitCheck(self.scope, limit, f"{self.id}:{limit}", value, amount, self.is_shadow)
            for limit, value, amount in needed
            if value is not None
        ]


@dataclass(kw_only=True, slots=True)
class LimitGrant:
    """What a request consumed of its limits. To be settled or released once."""

    request_id: str
    checks: Sequence[LimitCheck] = ()
    is_local: bool = False
    """Whether it was counted in this process."""
    decision: LimitDecision | None = None
    """The state of the limits at admission and, after `settle` or `release`, at the end."""
    shadow_exceeded: LimitExceeded | None = None
    """The limit in shadow mode that would have rejected the request."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """The `anthropic-ratelimit-*` headers of a response that starts now."""
        return rate_limit_headers(self.decision) if self.decision is not None else {}

    def take_unreleased(self) -> Sequence[LimitCheck]:
        """Return what is not released yet, once; after that nothing."""
        with self._lock:
            checks, self.checks = self.checks, ()
        return checks


class Limiter:
    """The limits of one process."""

    def __init__(self, store: Store, *, now_ms: Callable[[], int] = monotonic_ms) -> None:
        self._store = store
        self._local = LocalRateLimiter(now_ms=now_ms)
        self._shared = RedisRateLimiter(store)
        self._leases = ConcurrencyLeases(self._shared, store)

    def consume(self, request_id: str, limits: Sequence[Limits], *, tokens: int, lease_s: float) -> LimitGrant:
        """Consume what a request needs of all its limits. Raise RateLimitExceeded and consume nothing if one lacks it.

        `tokens` is an estimate. A slot that is neither settled nor released is freed after `lease_s`, or after
        `redis_buckets.LEASE_S` if this process dies.
        """
        checks = [check for each in limits for check in each.checks(tokens=tokens)]
        if not checks:
            return LimitGrant(request_id=request_id)
        is_shared = self._store.is_configured and not self._store.is_unavailable
        decision = self._shared.consume(request_id, checks, lease_s=lease_s) if is_shared else None
        if decision is not None:
            return self._grant(request_id, decision, lease_s=lease_s, is_in_redis=True)
        decision = self._local.consume(request_id, checks, lease_s=lease_s)
        if is_shared and not decision.is_allowed:
            self._leases.refund_later(request_id, checks)
        return self._grant(request_id, decision, lease_s=lease_s, is_in_redis=is_shared, is_local=True)

    def _grant(
        self, request_id: str, decision: LimitDecision, *, lease_s: float, is_in_redis: bool, is_local: bool = False
    ) -> LimitGrant:
        if not decision.is_allowed:
            raise rate_limit_error(decision)
        if self._store.is_configured:
            self._leases.add(request_id, decision.consumed, lease_s=lease_s, is_in_redis=is_in_redis)
        return LimitGrant(
            request_id=request_id,
            checks=decision.consumed,
            is_local=is_local,
            decision=decision,
            shadow_exceeded=exceeded_limit(decision, is_shadow=True),
        )

    def settle(self, grant: LimitGrant, *, tokens: int) -> None:
        """Replace the estimate by the tokens that were used. No effect after `settle` or `release`."""
        self._end(grant, {REQUESTS: 1, TOKENS: tokens})

    def release(self, grant: LimitGrant) -> None:
        """Refund everything: the request was not admitted. No effect after `settle` or `release`."""
        self._end(grant, {})

    def _end(self, grant: LimitGrant, usage: Usage) -> None:
        checks = grant.take_unreleased()
        if not checks:
            return
        shared = self._leases.settle(grant.request_id, usage)
        decision = self._local.settle(grant.request_id, checks, usage) if grant.is_local else shared
        if decision is not None:
            grant.decision = decision

    def check(self, limits: Sequence[Limits]) -> LimitDecision:
        """Return the current state of limits without consuming: of all workers, or of this worker's share."""
        checks = [check for each in limits for check in each.checks(tokens=0)]
        is_shared = checks and self._store.is_configured and not self._store.is_unavailable
        shared = self._shared.check(checks) if is_shared else None
        return self._local.check(checks) if shared is None else shared

    def start(self) -> None:
        """Start renewing the leases of slots, where they are in Redis."""
        if self._store.is_configured:
            self._leases.start()

    def close(self) -> None:
        """Stop renewing the leases of slots."""
        self._leases.close()


limiter = Limiter(store)
consume, settle, release, check = limiter.consume, limiter.settle, limiter.release, limiter.check
