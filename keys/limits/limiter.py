"""
How much at a time: requests and tokens a minute, calls at once, for a key and for its team.

`take` takes all that a call needs before it is let in, or nothing; `settle` puts the real tokens in the place of the
estimate; `release` gives all back. Counted in the shared store where there is one, and in this process otherwise:
while the store is away, for this worker's share, never without a limit.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from keys.limits.headers import headers, hit, refusal
from keys.limits.leases import ConcurrencyLeases
from keys.limits.local_buckets import LocalRateLimiter, monotonic_ms
from keys.limits.redis_buckets import RedisRateLimiter
from keys.limits.terms import CALLS, REQUESTS, TOKENS, LimitCheck, LimitDecision, Used
from lib.shared_store import Store, store


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one scope may do at a time. None: as much as it likes."""

    scope: str
    """`key` or `team`."""
    id: str
    """What the counts are kept under, such as `team:7`."""
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None
    is_shadow: bool = False
    """Whether to note what would be refused, and to refuse nothing."""

    @classmethod
    def of(cls, scope: str, rules: Any) -> "Limits":
        """Those of a key or of a team."""
        return cls(
            scope=scope,
            id=f"{scope}:{rules.pk}",
            requests_per_minute=rules.requests_per_minute,
            tokens_per_minute=rules.tokens_per_minute,
            concurrent_requests=rules.concurrent_requests,
            is_shadow=rules.shadow_mode,
        )

    @property
    def has_any(self) -> bool:
        return (self.requests_per_minute, self.tokens_per_minute, self.concurrent_requests) != (None, None, None)

    def asks(self, *, tokens: int) -> list[LimitCheck]:
        """What a call wants of them."""
        wanted = ((REQUESTS, self.requests_per_minute, 1), (TOKENS, self.tokens_per_minute, max(1, tokens)))
        return [
            LimitCheck(self.scope, limit, f"{self.id}:{limit}", value, amount, self.is_shadow)
            for limit, value, amount in (*wanted, (CALLS, self.concurrent_requests, 1))
            if value is not None
        ]


@dataclass(kw_only=True, slots=True)
class LimitGrant:
    """What a call holds of its limits until it is settled or released."""

    call_id: str
    asks: Sequence[LimitCheck] = ()
    is_local: bool = False
    """Whether it was counted in this process."""
    verdict: LimitDecision | None = None
    """How the limits stand: as the call found them, and once it is settled, as it leaves them."""
    shadow_exceeded: dict[str, Any] | None = None
    """The limit that would have refused the call if it did not only count."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """The `anthropic-ratelimit-*` headers of an answer that is given now."""
        return headers(self.verdict) if self.verdict is not None else {}

    def take_unreleased(self) -> Sequence[LimitCheck]:
        """What there is to give back: once."""
        with self._lock:
            asks, self.asks = self.asks, ()
        return asks


class Limiter:
    """The limits of one process."""

    def __init__(self, store: Store, *, now_ms: Callable[[], int] = monotonic_ms) -> None:
        self._store = store
        self._local = LocalRateLimiter(now_ms=now_ms)
        self._shared = RedisRateLimiter(store)
        self._open_calls = ConcurrencyLeases(self._shared, store)

    def take(self, call_id: str, limits: Sequence[Limits], *, tokens: int, lease_s: float) -> LimitGrant:
        """Take what a call needs of all its limits. Raise LimitReached if one has not enough; then nothing is taken.

        `tokens` is an estimate. A place that is neither settled nor released is free again after `lease_s`; if this
        process dies, after `shared_buckets.LEASE_S`.
        """
        asks = [ask for each in limits for ask in each.asks(tokens=tokens)]
        if not asks:
            return LimitGrant(call_id=call_id)
        was_asked = self._store.is_configured and not self._store.is_away
        verdict = self._shared.take(call_id, asks, lease_s=lease_s) if was_asked else None
        if verdict is not None:
            return self._grant(call_id, verdict, lease_s=lease_s, is_known=True)
        verdict = self._local.take(call_id, asks, lease_s=lease_s)
        if was_asked and not verdict.is_granted:
            self._open_calls.forget(call_id, asks)
        return self._grant(call_id, verdict, lease_s=lease_s, is_known=was_asked, is_local=True)

    def _grant(
        self, call_id: str, verdict: LimitDecision, *, lease_s: float, is_known: bool, is_local: bool = False
    ) -> LimitGrant:
        if not verdict.is_granted:
            raise refusal(verdict)
        if self._store.is_configured:
            self._open_calls.add(call_id, verdict.taken, lease_s=lease_s, is_known=is_known)
        return LimitGrant(
            call_id=call_id,
            asks=verdict.taken,
            is_local=is_local,
            verdict=verdict,
            shadow_exceeded=hit(verdict, is_shadow=True),
        )

    def settle(self, grant: LimitGrant, *, tokens: int) -> None:
        """The call is over and used so many tokens. May be called twice, also after `release`: the first one counts."""
        self._end(grant, {REQUESTS: 1, TOKENS: tokens})

    def release(self, grant: LimitGrant) -> None:
        """There was no call: give everything back. May be called twice, also after `settle`."""
        self._end(grant, {})

    def _end(self, grant: LimitGrant, used: Used) -> None:
        asks = grant.take_unreleased()
        if not asks:
            return
        shared = self._open_calls.settle(grant.call_id, used)
        verdict = self._local.settle(grant.call_id, asks, used) if grant.is_local else shared
        if verdict is not None:
            grant.verdict = verdict

    def look(self, limits: Sequence[Limits]) -> LimitDecision:
        """How limits stand now: of all workers together, or for the share of this one while the store is away."""
        asks = [ask for each in limits for ask in each.asks(tokens=0)]
        is_shared = asks and self._store.is_configured and not self._store.is_away
        shared = self._shared.look(asks) if is_shared else None
        return self._local.look(asks) if shared is None else shared

    def close(self) -> None:
        """End what renews the places of running calls."""
        self._open_calls.close()


limiter = Limiter(store)
take, settle, release, look = limiter.take, limiter.settle, limiter.release, limiter.look
