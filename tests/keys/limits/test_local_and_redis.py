"""What limits admit, in both forms of the limiter."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from keys.domain.limits import LimitExceeded
from keys.errors import RateLimitExceeded
from keys.limits.limiter import Limits
from tests.keys.limits.limiters import SharedTime, TimedLimiter, of_key, of_team, remaining

SIX_PER_MINUTE = of_key(requests_per_minute=6)  # one in ten seconds: nothing refills by chance
SHADOW = of_team(requests_per_minute=2, concurrent_requests=2, is_shadow=True)


def rejected(limiter: TimedLimiter, *limits: Limits, tokens: int = 1) -> RateLimitExceeded:
    with pytest.raises(RateLimitExceeded) as caught:
        limiter.consume(*limits, tokens=tokens)
    return caught.value


def wait_as_requested(limiter: TimedLimiter, error: RateLimitExceeded) -> None:
    limiter.time.advance(int(error.headers["retry-after"]))


# ---- Requests.


def test_requests_are_admitted_up_to_the_limit(limiter: TimedLimiter) -> None:
    counts = [remaining(limiter.consume(SIX_PER_MINUTE).headers)[0] for _ in range(6)]

    assert counts == [5, 4, 3, 2, 1, 0]
    assert rejected(limiter, SIX_PER_MINUTE).headers["retry-after"] == "10"


def test_the_bucket_refills_continuously_up_to_its_capacity(limiter: TimedLimiter) -> None:
    for _ in range(6):
        limiter.consume(SIX_PER_MINUTE)

    limiter.time.advance(20)
    limiter.consume(SIX_PER_MINUTE)
    limiter.consume(SIX_PER_MINUTE)
    rejected(limiter, SIX_PER_MINUTE)
    limiter.time.advance(3600)
    assert remaining(limiter.consume(SIX_PER_MINUTE).headers) == (5, None)


@pytest.mark.parametrize("limit", [1, 6, 7, 13])
def test_a_retry_is_admitted_after_retry_after_and_not_before(limiter: TimedLimiter, limit: int) -> None:
    limits = of_key(requests_per_minute=limit)
    while remaining(limiter.consume(limits).headers)[0]:
        pass
    error = rejected(limiter, limits)
    assert int(error.headers["retry-after"]) == math.ceil(60 / limit)

    limiter.time.advance(60 / limit - 1)
    rejected(limiter, limits)
    limiter.time.advance(1.001)

    assert remaining(limiter.consume(limits).headers)[0] == 0


def test_a_release_refunds_the_request(limiter: TimedLimiter) -> None:
    limits = of_key(requests_per_minute=6, tokens_per_minute=600, concurrent_requests=1)

    limiter.release(limiter.consume(limits, tokens=500))

    assert remaining(limiter.consume(limits, tokens=100).headers) == (5, 500)


def test_a_request_without_enough_tokens_gets_its_first_step_back(limiter: TimedLimiter) -> None:
    limits = of_key(requests_per_minute=6, tokens_per_minute=6, concurrent_requests=1)
    first = limiter.consume(limits, tokens=4)
    limiter.release(first)
    limiter.settle(limiter.consume(limits, tokens=4), tokens=4)

    error = rejected(limiter, limits, tokens=4)

    assert remaining(error.headers) == (5, 2)
    assert error.headers["retry-after"] == "20"
    assert remaining(limiter.consume(limits, tokens=2).headers) == (4, 0)


def test_the_first_step_reports_the_tokens_and_is_not_limited_by_them(limiter: TimedLimiter) -> None:
    limits = of_key(requests_per_minute=1, tokens_per_minute=6)
    limiter.settle(limiter.consume(limits, tokens=1), tokens=20)

    assert remaining(rejected(limiter, limits).headers) == (0, 0)
    limiter.time.advance(60)
    grant = limiter.limiter.consume("req_first", [limits], lease_s=60)
    assert remaining(grant.headers) == (0, 0)


# ---- Checks without consumption.


def test_a_check_returns_the_remaining_units_and_consumes_nothing(limiter: TimedLimiter) -> None:
    limits = of_key(requests_per_minute=6, tokens_per_minute=600, concurrent_requests=2)
    untouched = limiter.limiter.check([limits])
    limiter.consume(limits, tokens=100)

    checks = [limiter.limiter.check([limits, SHADOW]) for _ in range(3)]

    assert [state.remaining for state in untouched.states] == [6, 600, 2]
    assert [[state.remaining for state in check.states] for check in checks] == [[5, 500, 1, 2, 2]] * 3
    requests, tokens, slots, *_ = checks[0].states
    assert 0 < requests.full_in_ms <= 10_000 and 0 < tokens.full_in_ms <= 10_000 and slots.full_in_ms == 0
    assert limiter.limiter.check([]).states == ()


# ---- Tokens.


def test_tokens_are_consumed_by_the_estimate_and_settled_by_the_usage(limiter: TimedLimiter) -> None:
    limits = of_key(tokens_per_minute=6)

    grant = limiter.consume(limits, tokens=5)
    assert remaining(grant.headers) == (None, 1)
    assert rejected(limiter, limits, tokens=2).headers["retry-after"] == "10"
    limiter.settle(grant, tokens=2)

    assert remaining(grant.headers) == (None, 4)
    assert remaining(limiter.consume(limits, tokens=4).headers) == (None, 0)


def test_usage_beyond_the_estimate_leaves_a_negative_level(limiter: TimedLimiter) -> None:
    limits = of_key(tokens_per_minute=6)

    limiter.settle(limiter.consume(limits, tokens=1), tokens=12)

    error = rejected(limiter, limits, tokens=1)
    assert (remaining(error.headers), error.headers["retry-after"]) == ((None, 0), "70")
    wait_as_requested(limiter, error)
    limiter.consume(limits, tokens=1)


def test_a_request_larger_than_the_limit_consumes_the_whole_bucket(limiter: TimedLimiter) -> None:
    limits = of_key(tokens_per_minute=6)

    grant = limiter.consume(limits, tokens=10_000)

    assert remaining(grant.headers) == (None, 0)
    assert rejected(limiter, limits, tokens=10_000).headers["retry-after"] == "60"
    limiter.settle(grant, tokens=3)
    assert remaining(grant.headers) == (None, 3)


def test_very_large_limits_count_exactly(limiter: TimedLimiter) -> None:
    limits = of_key(tokens_per_minute=10**10)

    grant = limiter.consume(limits, tokens=10**9)
    limiter.settle(grant, tokens=10**9 + 1)

    tokens = remaining(grant.headers)[1]
    assert tokens is not None and tokens >= 9 * 10**9 - 1


# ---- Concurrent requests.


def test_the_next_request_is_admitted_when_one_of_the_concurrent_requests_finishes(limiter: TimedLimiter) -> None:
    limits = of_key(concurrent_requests=2)
    first, _ = limiter.consume(limits), limiter.consume(limits)

    error = rejected(limiter, limits)
    limiter.settle(first)
    limiter.consume(limits)

    assert error.headers == {"retry-after": "1"}
    assert error.message == (
        "Concurrency limit exceeded: 2 concurrent requests for this API key. Retry when one finishes."
    )
    rejected(limiter, limits)


def test_a_slot_that_is_not_released_expires_with_its_lease(limiter: TimedLimiter) -> None:
    limits = of_key(concurrent_requests=1)
    limiter.consume(limits)

    limiter.time.advance(10)
    rejected(limiter, limits)
    limiter.time.advance(3600)

    limiter.consume(limits)


# ---- All limits together.


@pytest.mark.parametrize(
    "team",
    [
        pytest.param({"requests_per_minute": 1}, id="requests"),
        pytest.param({"tokens_per_minute": 5}, id="tokens"),
        pytest.param({"concurrent_requests": 1}, id="concurrency"),
    ],
)
def test_a_rejected_request_consumes_nothing_of_any_limit(limiter: TimedLimiter, team: dict[str, int]) -> None:
    key = of_key(requests_per_minute=6, tokens_per_minute=60, concurrent_requests=2)
    limiter.consume(of_team(**team), tokens=5)

    error = rejected(limiter, key, of_team(**team), tokens=5)

    assert error.limit_exceeded is not None and error.limit_exceeded.scope == "team"
    grant = limiter.consume(key, tokens=1)
    assert remaining(grant.headers) == (5, 59)
    limiter.consume(key)
    rejected(limiter, key)


def test_the_headers_are_those_of_the_scope_with_the_least_remaining(limiter: TimedLimiter) -> None:
    key = of_key(requests_per_minute=6, tokens_per_minute=600)
    team = of_team(requests_per_minute=12, tokens_per_minute=60)

    headers = limiter.consume(key, team, tokens=10).headers

    assert {name: value for name, value in headers.items() if not name.endswith("-reset")} == {
        "anthropic-ratelimit-requests-limit": "6",
        "anthropic-ratelimit-requests-remaining": "5",
        "anthropic-ratelimit-tokens-limit": "60",
        "anthropic-ratelimit-tokens-remaining": "50",
    }


def test_only_the_limits_that_exist_are_in_the_headers(limiter: TimedLimiter) -> None:
    assert limiter.consume().headers == {}
    assert limiter.consume(of_key(concurrent_requests=1)).headers == {}
    assert {name.split("-")[2] for name in limiter.consume(SIX_PER_MINUTE).headers} == {"requests"}


def test_a_rejection_states_scope_limit_value_and_the_longest_wait(limiter: TimedLimiter) -> None:
    key = of_key(requests_per_minute=60, tokens_per_minute=1_000)
    limiter.consume(key, tokens=1_000)

    error = rejected(limiter, key, tokens=500)

    assert error.message == ("Rate limit exceeded: 1,000 tokens per minute for this API key. Retry after 30 s.")
    assert (error.status, error.type, error.headers["retry-after"]) == (429, "rate_limit_error", "30")
    assert error.limit_exceeded == LimitExceeded(
        scope="key",
        limit="tokens_per_minute",
        value=1_000,
        reset=error.headers["anthropic-ratelimit-tokens-reset"],
    )


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (
            of_key(requests_per_minute=1),
            "Rate limit exceeded: 1 request per minute for this API key. Retry after 60 s.",
        ),
        (
            of_team(requests_per_minute=6),
            "Rate limit exceeded: 6 requests per minute for the team of this API key. Retry after 10 s.",
        ),
        (
            of_team(concurrent_requests=1),
            "Concurrency limit exceeded: 1 concurrent request for the team of this API key. Retry when one finishes.",
        ),
    ],
)
def test_a_rejection_has_a_message(limiter: TimedLimiter, limits: Limits, words: str) -> None:
    with pytest.raises(RateLimitExceeded) as caught:
        while True:
            limiter.consume(limits)

    assert caught.value.message == words


# ---- Settled or released once.


def test_a_grant_is_settled_or_released_once(limiter: TimedLimiter) -> None:
    limits = of_key(requests_per_minute=6, tokens_per_minute=60)
    grant = limiter.consume(limits, tokens=50)

    limiter.settle(grant, tokens=20)
    limiter.settle(grant, tokens=0)
    limiter.release(grant)

    assert remaining(limiter.consume(limits, tokens=1).headers) == (4, 39)


def test_a_request_without_limits_consumes_nothing(limiter: TimedLimiter) -> None:
    grant = limiter.consume()

    limiter.settle(grant, tokens=10)

    assert (grant.headers, grant.shadow_exceeded) == ({}, None)


# ---- Shadow mode.


def test_a_shadow_limit_rejects_nothing_and_reports_what_it_would_reject(limiter: TimedLimiter) -> None:
    grants = [limiter.consume(SHADOW) for _ in range(3)]

    exceeded = grants[2].shadow_exceeded
    assert [grant.shadow_exceeded for grant in grants[:2]] == [None, None]
    assert exceeded is not None and exceeded.reset is not None
    expected = LimitExceeded(scope="team", limit="requests_per_minute", value=2, shadow=True)
    assert replace(exceeded, reset=None) == expected
    assert grants[2].headers == {}


def test_a_shadow_limit_counts_as_if_it_were_enforced(limiter: TimedLimiter) -> None:
    for grant in [limiter.consume(SHADOW) for _ in range(20)]:
        limiter.settle(grant)

    limiter.time.advance(30)

    assert limiter.consume(SHADOW).shadow_exceeded is None
    assert limiter.consume(SHADOW).shadow_exceeded is not None


def test_a_shadow_limit_does_not_weaken_an_enforced_one(limiter: TimedLimiter) -> None:
    assert [limiter.consume(of_key(requests_per_minute=3), SHADOW).shadow_exceeded is None for _ in range(3)] == [
        1,
        1,
        0,
    ]

    assert remaining(rejected(limiter, of_key(requests_per_minute=3), SHADOW).headers) == (0, None)


# ---- Changes and eviction.


def test_a_changed_limit_applies_immediately(limiter: TimedLimiter) -> None:
    for _ in range(3):
        limiter.consume(SIX_PER_MINUTE)

    assert remaining(limiter.consume(of_key(requests_per_minute=2)).headers) == (1, None)
    limiter.time.advance(5)
    assert remaining(limiter.consume(of_key(requests_per_minute=60)).headers) == (5, None)


def test_older_requests_do_not_refill_a_lowered_limit(limiter: TimedLimiter) -> None:
    older = [limiter.consume(of_key(tokens_per_minute=6_000), tokens=1_000) for _ in range(5)]
    lowered = of_key(tokens_per_minute=60)

    limiter.consume(lowered, tokens=60)
    for grant in older:
        limiter.settle(grant, tokens=10)

    assert rejected(limiter, lowered, tokens=60).headers["anthropic-ratelimit-tokens-remaining"] == "0"


def test_older_requests_refund_a_lowered_limit_once(limiter: TimedLimiter) -> None:
    """With the usage known before, the bucket would have been full when the limit was lowered, and no fuller."""
    older = [limiter.consume(of_key(tokens_per_minute=6_000), tokens=1_000) for _ in range(6)]
    lowered = of_key(tokens_per_minute=60)
    rejected(limiter, lowered, tokens=60)

    limiter.settle(older[0], tokens=10)
    assert remaining(limiter.consume(lowered, tokens=60).headers) == (None, 0)
    for grant in older[1:]:
        limiter.settle(grant, tokens=10)

    rejected(limiter, lowered, tokens=60)


def test_older_requests_do_not_empty_a_raised_limit(limiter: TimedLimiter) -> None:
    older = [limiter.consume(of_key(requests_per_minute=6, tokens_per_minute=60), tokens=10) for _ in range(5)]
    raised = of_key(requests_per_minute=600, tokens_per_minute=6_000)
    limiter.consume(raised)
    limiter.time.advance(60)

    for grant in older:
        limiter.settle(grant, tokens=10)

    requests, tokens = remaining(limiter.consume(raised, tokens=10).headers)
    assert (requests or 0) >= 599 and (tokens or 0) >= 5_990


@pytest.mark.parametrize("name", ["requests_per_minute", "tokens_per_minute", "concurrent_requests"])
def test_a_limit_of_zero_admits_nothing_and_stores_nothing(limiter: TimedLimiter, name: str) -> None:
    error = rejected(limiter, of_key(**{name: 0}))

    assert error.status == 429 and 1 <= int(error.headers["retry-after"]) <= 60
    assert all(state.remaining == 0 for state in limiter.limiter.check([of_key(**{name: 0})]).states)
    if isinstance(limiter.time, SharedTime):
        assert limiter.time.keys() == []


def test_a_limit_of_zero_in_shadow_mode_rejects_nothing(limiter: TimedLimiter) -> None:
    grant = limiter.consume(Limits(scope="key", id="key:1", requests_per_minute=0, is_shadow=True))

    assert grant.shadow_exceeded is not None and grant.shadow_exceeded.limit == "requests_per_minute"


def test_a_fully_replenished_limit_is_not_stored(limiter: TimedLimiter) -> None:
    limits = of_key(requests_per_minute=6, tokens_per_minute=60, concurrent_requests=3)
    for grant in [limiter.consume(limits, tokens=10) for _ in range(3)]:
        limiter.settle(grant, tokens=10)

    limiter.time.advance(60)
    limiter.release(limiter.consume(limits, tokens=10))

    if isinstance(limiter.time, SharedTime):
        assert limiter.time.keys() == []


def test_the_reset_is_when_the_limit_is_fully_replenished(limiter: TimedLimiter) -> None:
    limiter.consume(SIX_PER_MINUTE)
    reset = limiter.consume(SIX_PER_MINUTE).headers["anthropic-ratelimit-requests-reset"]

    full_at = datetime.fromisoformat(reset)
    assert reset.endswith("Z")
    assert timedelta(seconds=18) < full_at - datetime.now(UTC) <= timedelta(seconds=21)
