"""
The limiter: requests and tokens per minute and concurrent requests, of a key and of its team.

A request consumes in two steps, each of them everything or nothing: `consume` before its body is read, since a body
that is not wanted must cost nothing, and `consume_tokens` once its tokens can be estimated. `settle` replaces the
estimate by the actual usage; `release` refunds everything. Limits are counted in Redis where it is configured, and in
this process otherwise: while Redis is unavailable, each worker enforces its share. A limit is never unenforced.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from keys.domain.limits import CONCURRENCY, REQUESTS, TOKENS, LimitExceeded
from keys.limits.checks import LimitCheck, LimitDecision, Usage, exceeded_limit, rate_limit_error, rate_limit_headers
from keys.limits.leases import ConcurrencyLeases
from keys.limits.local_buckets import LocalRateLimiter, monotonic_ms
from keys.limits.presence import Presence
from keys.limits.redis_buckets import RedisRateLimiter
from lib.shared_store import SharedStore, store


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
    entry_checks: tuple[LimitCheck, ...] = field(init=False, repr=False, compare=False)
    """What each request needs before its tokens are known. The state of the token bucket is read as well."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "entry_checks", tuple(self.checks()))

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

    def checks(self, *, requests: int = 1, tokens: int = 0) -> list[LimitCheck]:
        """Return what so many requests with so many tokens need of each limit. An amount of 0 only reads its state."""
        needed = (
            (REQUESTS, self.requests_per_minute, requests),
            (TOKENS, self.tokens_per_minute, tokens),
            (CONCURRENCY, self.concurrent_requests, requests),
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
    limits: Sequence[Limits] = ()
    lease_s: float = 0
    decision: LimitDecision | None = None
    """The state of the limits at admission and, after `settle` or `release`, at the end."""
    shadow_exceeded: LimitExceeded | None = None
    """The limit in shadow mode that would have rejected the request."""
    _checks: list[tuple[LimitCheck, bool]] = field(default_factory=list, repr=False)
    """What is not released yet, each with whether it was counted in this process."""

    @property
    def headers(self) -> dict[str, str]:
        """The `anthropic-ratelimit-*` headers of a response that starts now."""
        return rate_limit_headers(self.decision) if self.decision is not None else {}

    def add(self, decision: LimitDecision, *, is_local: bool) -> None:
        """Add what one step consumed."""
        self.update(decision)
        self.shadow_exceeded = exceeded_limit(decision, is_shadow=True)
        self._checks += [(check, is_local) for check in decision.consumed]

    def update(self, decision: LimitDecision) -> None:
        """Replace the states of the limits by later ones."""
        self.decision = decision if self.decision is None else self.decision.updated(decision)

    def take_unreleased(self) -> list[tuple[LimitCheck, bool]]:
        """Return what is not released yet, once; after that nothing."""
        checks: list[tuple[LimitCheck, bool]] = []
        with suppress(IndexError):
            while True:
                checks.append(self._checks.pop())  # atomic, without a lock for each request
        return checks[::-1]


NOTHING = LimitDecision((), 0)
"""The decision about a request that needs nothing."""


class Limiter:
    """The limits of one process."""

    def __init__(self, store: SharedStore, *, now_ms: Callable[[], int] = monotonic_ms) -> None:
        self._store = store
        self._presence = Presence(store, on_loss=lambda: self._leases.renew_soon())
        self._local = LocalRateLimiter(now_ms=now_ms, presence=self._presence)
        self._shared = RedisRateLimiter(store, self._presence)
        self._leases = ConcurrencyLeases(self._shared, store, self._presence, on_report=self._local.learn_slots)

    def consume(self, request_id: str, limits: Sequence[Limits], *, lease_s: float) -> LimitGrant:
        """Consume a request and a slot of each enforced limit. Raise RateLimitExceeded and consume nothing without one.

        A slot that is neither settled nor released is freed after `lease_s`, or after `redis_buckets.LEASE_S` if this
        process dies.
        """
        grant = LimitGrant(request_id=request_id, limits=limits, lease_s=lease_s)
        # The state of the token buckets is read as well: each response states all limits of its key.
        decision = self._consume(grant, [check for each in limits if not each.is_shadow for check in each.entry_checks])
        if not decision.is_allowed:
            raise rate_limit_error(decision)
        return grant

    def consume_tokens(self, grant: LimitGrant, *, tokens: int) -> None:
        """Consume the estimated tokens. Raise RateLimitExceeded and release the grant if an enforced limit lacks them.

        A limit in shadow mode consumes everything in this step, or nothing: its state is that of an enforced limit.
        """
        checks: list[LimitCheck] = []
        for each in grant.limits:
            if each.is_shadow:
                checks += each.checks(tokens=max(1, tokens))
            else:
                checks += [
                    check._replace(amount=max(1, tokens)) for check in each.entry_checks if check.limit == TOKENS
                ]
        decision = self._consume(grant, checks)
        if not decision.is_allowed:
            self.release(grant)
            raise rate_limit_error(decision if grant.decision is None else grant.decision.updated(decision))

    def _consume(self, grant: LimitGrant, checks: Sequence[LimitCheck]) -> LimitDecision:
        """Consume all amounts and add them to the grant, or nothing."""
        if not any(check.amount for check in checks):
            return NOTHING
        is_shared = self._store.is_configured and not self._store.is_unavailable
        decision = self._consume_shared(grant, checks) if is_shared else None
        is_local = decision is None
        if decision is None:
            decision = self._local.consume(grant.request_id, checks, lease_s=grant.lease_s)
        if decision.is_allowed:
            grant.add(decision, is_local=is_local)
            if self._store.is_configured:
                self._leases.add(grant.request_id, decision.consumed, lease_s=grant.lease_s, is_in_redis=is_shared)
        elif is_shared and is_local:
            self._leases.refund_later(grant.request_id, checks)
        return decision

    def _consume_shared(self, grant: LimitGrant, checks: Sequence[LimitCheck]) -> LimitDecision | None:
        """Consume in Redis, and keep the reported state for an outage. Return None if Redis did not respond."""
        decision = self._shared.consume(grant.request_id, checks, lease_s=grant.lease_s)
        if decision is None:
            return None
        is_uncertain = self._presence.is_uncertain
        if decision.is_allowed and is_uncertain:
            known = self._local.known_slots(checks, is_share_enforced=self._presence.is_after_outage)
            if not known.is_allowed:
                self._shared.settle(grant.request_id, decision.consumed, {})
                return known
        self._local.learn(grant.request_id, decision, lease_s=grant.lease_s, is_complete=not is_uncertain)
        return decision

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
        if in_redis := [check for check, is_local in checks if not is_local]:
            reported = None if self._presence.is_uncertain else shared
            self._local.settle_shared(grant.request_id, in_redis, usage, decision=reported)
        if shared is not None:
            grant.update(shared)
        if local := [check for check, is_local in checks if is_local]:
            grant.update(self._local.settle(grant.request_id, local, usage))

    def check(self, limits: Sequence[Limits]) -> LimitDecision:
        """Return the current state of limits without consuming: of all workers, or of this worker's share."""
        checks = [check for each in limits for check in each.checks(requests=0)]
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
consume, consume_tokens, check = limiter.consume, limiter.consume_tokens, limiter.check
settle, release = limiter.settle, limiter.release
