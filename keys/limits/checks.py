"""
Checks of limits and their decisions, which the local and the Redis form share, and their response headers and errors.

Levels are whole numbers, so that both forms decide identically: time is in milliseconds, and a bucket of `value` units
per minute is refilled by `value` parts per millisecond. A unit has 60,000 parts.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from keys.domain.limits import CONCURRENCY, LIMIT_LABELS, REQUESTS, TOKENS, LimitExceeded
from keys.errors import RateLimitExceeded

PARTS = 60_000
BLOCKED_MS = 60_000  # a limit of 0 admits nothing until an operator changes it
SLOT_RETRY_MS = 1_000  # the end of an in-flight request cannot be predicted: retry soon

HEADERS = {REQUESTS: "anthropic-ratelimit-requests", TOKENS: "anthropic-ratelimit-tokens"}
SCOPES = {"key": "this API key", "team": "the team of this API key"}
SINGULAR = {REQUESTS: "request per minute", TOKENS: "token per minute", CONCURRENCY: "concurrent request"}

Usage = Mapping[str, int]
"""Limit → units that a request used in the end. The rest of what it consumed is refunded."""


class LimitCheck(NamedTuple):
    """What a request needs of one limit of one scope."""

    scope: str
    limit: str
    key: str
    """The name of the counter, such as `key:7:requests_per_minute`."""
    value: int
    """Units per minute, or the number of concurrent requests."""
    amount: int = 1
    is_shadow: bool = False

    @property
    def is_concurrency(self) -> bool:
        """Whether the request needs a slot while it is in flight, instead of units of a token bucket."""
        return self.limit == CONCURRENCY

    @property
    def is_blocked(self) -> bool:
        """Whether the limit admits nothing. No form can set a limit of 0, but SQL can."""
        return self.value < 1


class LimitState(NamedTuple):
    """A limit right after a check."""

    check: LimitCheck
    wait_ms: int
    """Time until the amount is available; 0 if it is."""
    remaining: int
    full_in_ms: int


class LimitDecision(NamedTuple):
    """Whether a request is within its limits. Everything was consumed, or nothing."""

    states: tuple[LimitState, ...]
    at: float
    """Seconds since 1970, by the clock of the form that decided."""

    def limited(self, *, is_shadow: bool) -> list[LimitState]:
        """Return the limits that lack the amount: the shadow ones or the enforced ones."""
        return [state for state in self.states if state.wait_ms and state.check.is_shadow is is_shadow]

    @property
    def is_allowed(self) -> bool:
        return not self.limited(is_shadow=False)

    @property
    def consumed(self) -> tuple[LimitCheck, ...]:
        return consumed([state.check for state in self.states], [state.wait_ms for state in self.states])

    def updated(self, later: "LimitDecision") -> "LimitDecision":
        """Return this decision with the states of a later one, which replace those of the same counters."""
        states = {state.check.key: state for state in (*self.states, *later.states)}
        return LimitDecision(tuple(states.values()), later.at)


def consumed(checks: Sequence[LimitCheck], waits_ms: Sequence[int]) -> tuple[LimitCheck, ...]:
    """Return the checks that consume, given how long each would have to wait: all of them or none.

    A request that a shadow limit would reject consumes of no shadow limit. An amount of 0 consumes nothing.
    """
    if not any(waits_ms):
        return tuple([check for check in checks if check.amount])
    limited = [check for check, wait_ms in zip(checks, waits_ms, strict=True) if wait_ms]
    if any(not check.is_shadow for check in limited):
        return ()
    return tuple(check for check in checks if check.amount and not (limited and check.is_shadow))


def rate_limit_headers(decision: LimitDecision) -> dict[str, str]:
    """Return the `anthropic-ratelimit-*` headers: for each kind, those of the scope with the least remaining.

    Shadow limits are left out. `-reset` is the time at which the limit is fully replenished.
    """
    found: dict[str, str] = {}
    for limit, name in HEADERS.items():
        states = [state for state in decision.states if state.check.limit == limit and not state.check.is_shadow]
        if states:
            least = min(states, key=lambda state: (state.remaining, -state.full_in_ms))
            found[f"{name}-limit"] = str(least.check.value)
            found[f"{name}-remaining"] = str(least.remaining)
            found[f"{name}-reset"] = reset_time(decision, least)
    return found


def exceeded_limit(decision: LimitDecision, *, is_shadow: bool) -> LimitExceeded | None:
    """Return the limit with the longest wait among those that reject the request, or would; None if none does."""
    limited = decision.limited(is_shadow=is_shadow)
    if not limited:
        return None
    state = _longest_wait(limited)
    check = state.check
    reset = None if check.is_concurrency else reset_time(decision, state)
    return LimitExceeded(scope=check.scope, limit=check.limit, value=check.value, reset=reset, shadow=is_shadow)


def rate_limit_error(decision: LimitDecision) -> RateLimitExceeded:
    """Return the error for a request that was not admitted."""
    state = _longest_wait(decision.limited(is_shadow=False))
    check, retry_after_s = state.check, math.ceil(state.wait_ms / 1000)
    label = (SINGULAR if check.value == 1 else LIMIT_LABELS)[check.limit]
    kind = "Concurrency limit" if check.is_concurrency else "Rate limit"
    retry = "Retry when one finishes." if check.is_concurrency else f"Retry after {retry_after_s} s."
    return RateLimitExceeded(
        f"{kind} exceeded: {check.value:,} {label} for {SCOPES[check.scope]}. {retry}",
        retry_after_s=retry_after_s,
        headers=rate_limit_headers(decision),
        limit_exceeded=exceeded_limit(decision, is_shadow=False),
    )


def _longest_wait(states: list[LimitState]) -> LimitState:
    return max(states, key=lambda state: state.wait_ms)


def reset_time(decision: LimitDecision, state: LimitState) -> str:
    """Return when a limit is fully replenished, in RFC 3339."""
    return _rfc_3339(math.ceil(decision.at + state.full_in_ms / 1000))


@lru_cache(maxsize=1_000)
def _rfc_3339(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
