"""What is said of limits: the headers of an answer, and the words and figures of a refusal."""

import math
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from keys.errors import RateLimitExceeded
from keys.limits.terms import CALLS, REQUESTS, TOKENS, LimitDecision, LimitState

HEADERS = {REQUESTS: "anthropic-ratelimit-requests", TOKENS: "anthropic-ratelimit-tokens"}
SCOPES = {"key": "This key", "team": "The team of this key"}
RULES = {
    REQUESTS: ("may make {:,} request a minute", "may make {:,} requests a minute"),
    TOKENS: ("may use {:,} token a minute", "may use {:,} tokens a minute"),
    CALLS: ("may run {:,} call at once", "may run {:,} calls at once"),
}


def headers(verdict: LimitDecision) -> dict[str, str]:
    """The `anthropic-ratelimit-*` headers: for each kind, those of the scope that has the least left for a next call.

    Limits that only count are left out. `reset` is when the limit is full again.
    """
    found: dict[str, str] = {}
    for limit, name in HEADERS.items():
        states = [state for state in verdict.states if state.ask.limit == limit and not state.ask.is_shadow]
        if states:
            least = min(states, key=lambda state: (state.remaining, -state.full_in_ms))
            found[f"{name}-limit"] = str(least.ask.value)
            found[f"{name}-remaining"] = str(least.remaining)
            found[f"{name}-reset"] = reset(verdict, least)
    return found


def hit(verdict: LimitDecision, *, is_shadow: bool) -> dict[str, Any] | None:
    """The limit that refused, or would have, as the usage record keeps it: the one that makes wait the longest."""
    short = verdict.short(is_shadow=is_shadow)
    if not short:
        return None
    state = _longest(short)
    told = {"scope": state.ask.scope, "limit": state.ask.limit, "value": state.ask.value}
    told["reset"] = None if state.ask.is_concurrency else reset(verdict, state)
    return told | {"shadow": True} if is_shadow else told


def refusal(verdict: LimitDecision) -> RateLimitExceeded:
    """The error for a call that was not let in."""
    state = _longest(verdict.short(is_shadow=False))
    wait_s = math.ceil(state.wait_ms / 1000)
    rule = RULES[state.ask.limit][state.ask.value != 1].format(state.ask.value)
    then = "try again when one has ended" if state.ask.is_concurrency else f"try again in {wait_s} s"
    return RateLimitExceeded(
        f"{SCOPES[state.ask.scope]} {rule}; {then}.",
        retry_after_s=wait_s,
        headers=headers(verdict),
        hit=hit(verdict, is_shadow=False),
    )


def _longest(states: list[LimitState]) -> LimitState:
    return max(states, key=lambda state: state.wait_ms)


def reset(verdict: LimitDecision, state: LimitState) -> str:
    return _rfc_3339(math.ceil(verdict.at + state.full_in_ms / 1000))


@lru_cache(maxsize=1_000)
def _rfc_3339(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
