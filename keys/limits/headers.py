"""Rate-limit response headers, and the 429 error of a request over a limit."""

import math
from datetime import UTC, datetime
from functools import lru_cache

from keys.domain.limits import CONCURRENCY, LIMIT_LABELS, REQUESTS, TOKENS, LimitExceeded
from keys.errors import RateLimitExceeded
from keys.limits.checks import LimitDecision, LimitState

HEADERS = {REQUESTS: "anthropic-ratelimit-requests", TOKENS: "anthropic-ratelimit-tokens"}
SCOPES = {"key": "this API key", "team": "the team of this API key"}
SINGULAR = {REQUESTS: "request per minute", TOKENS: "token per minute", CONCURRENCY: "concurrent request"}


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
