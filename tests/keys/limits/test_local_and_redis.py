"""What a limit lets through, in whichever form it is counted."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from keys.domain.limits import LimitExceeded
from keys.errors import RateLimitExceeded
from keys.limits.limiter import Limits
from tests.keys.limits.limiters import Counted, SharedTime, of_key, of_team, remaining

SIX_A_MINUTE = of_key(requests_per_minute=6)  # one in ten seconds: nothing comes back by chance
SHADOW = of_team(requests_per_minute=2, concurrent_requests=2, is_shadow=True)


def refused(counted: Counted, *limits: Limits, tokens: int = 1) -> RateLimitExceeded:
    with pytest.raises(RateLimitExceeded) as caught:
        counted.take(*limits, tokens=tokens)
    return caught.value


def wait_as_told(counted: Counted, error: RateLimitExceeded) -> None:
    counted.time.go_by(int(error.headers["retry-after"]))


# ---- requests


def test_as_many_requests_as_the_limit_says_and_then_none(counted: Counted) -> None:
    left = [remaining(counted.take(SIX_A_MINUTE).headers)[0] for _ in range(6)]

    assert left == [5, 4, 3, 2, 1, 0]
    assert refused(counted, SIX_A_MINUTE).headers["retry-after"] == "10"


def test_they_come_back_one_after_the_other_and_never_more_than_the_limit(counted: Counted) -> None:
    for _ in range(6):
        counted.take(SIX_A_MINUTE)

    counted.time.go_by(20)
    counted.take(SIX_A_MINUTE)
    counted.take(SIX_A_MINUTE)
    refused(counted, SIX_A_MINUTE)
    counted.time.go_by(3600)
    assert remaining(counted.take(SIX_A_MINUTE).headers) == (5, None)


@pytest.mark.parametrize("limit", [1, 6, 7, 13])
def test_whoever_waits_as_long_as_it_is_told_gets_through_and_whoever_does_not_is_refused(
    counted: Counted, limit: int
) -> None:
    limits = of_key(requests_per_minute=limit)
    while remaining(counted.take(limits).headers)[0]:
        pass
    error = refused(counted, limits)
    assert int(error.headers["retry-after"]) == math.ceil(60 / limit)

    counted.time.go_by(60 / limit - 1)
    refused(counted, limits)
    counted.time.go_by(1.001)

    assert remaining(counted.take(limits).headers)[0] == 0


def test_a_call_that_was_not_made_gives_its_request_back(counted: Counted) -> None:
    limits = of_key(requests_per_minute=6, tokens_per_minute=600, concurrent_requests=1)

    counted.release(counted.take(limits, tokens=500))

    assert remaining(counted.take(limits, tokens=100).headers) == (5, 500)


# ---- looking


def test_a_look_tells_what_is_left_and_takes_nothing(counted: Counted) -> None:
    limits = of_key(requests_per_minute=6, tokens_per_minute=600, concurrent_requests=2)
    untouched = counted.limiter.check([limits])
    counted.take(limits, tokens=100)

    looks = [counted.limiter.check([limits, SHADOW]) for _ in range(3)]

    assert [state.remaining for state in untouched.states] == [6, 600, 2]
    assert [[state.remaining for state in look.states] for look in looks] == [[5, 500, 1, 2, 2]] * 3
    requests, tokens, places, *_ = looks[0].states
    assert 0 < requests.full_in_ms <= 10_000 and 0 < tokens.full_in_ms <= 10_000 and places.full_in_ms == 0
    assert counted.limiter.check([]).states == ()


# ---- tokens


def test_tokens_are_held_by_the_estimate_and_corrected_by_what_was_used(counted: Counted) -> None:
    limits = of_key(tokens_per_minute=6)

    grant = counted.take(limits, tokens=5)
    assert remaining(grant.headers) == (None, 1)
    assert refused(counted, limits, tokens=2).headers["retry-after"] == "10"
    counted.settle(grant, tokens=2)

    assert remaining(grant.headers) == (None, 4)
    assert remaining(counted.take(limits, tokens=4).headers) == (None, 0)


def test_a_call_that_used_more_than_it_said_leaves_a_debt(counted: Counted) -> None:
    limits = of_key(tokens_per_minute=6)

    counted.settle(counted.take(limits, tokens=1), tokens=12)

    error = refused(counted, limits, tokens=1)
    assert (remaining(error.headers), error.headers["retry-after"]) == ((None, 0), "70")
    wait_as_told(counted, error)
    counted.take(limits, tokens=1)


def test_a_call_larger_than_the_limit_takes_all_that_there_is(counted: Counted) -> None:
    limits = of_key(tokens_per_minute=6)

    grant = counted.take(limits, tokens=10_000)

    assert remaining(grant.headers) == (None, 0)
    assert refused(counted, limits, tokens=10_000).headers["retry-after"] == "60"
    counted.settle(grant, tokens=3)
    assert remaining(grant.headers) == (None, 3)


def test_very_large_limits_count_exactly(counted: Counted) -> None:
    limits = of_key(tokens_per_minute=10**10)

    grant = counted.take(limits, tokens=10**9)
    counted.settle(grant, tokens=10**9 + 1)

    left = remaining(grant.headers)[1]
    assert left is not None and left >= 9 * 10**9 - 1


# ---- calls at once


def test_so_many_calls_at_once_and_the_next_one_when_one_has_ended(counted: Counted) -> None:
    limits = of_key(concurrent_requests=2)
    first, _ = counted.take(limits), counted.take(limits)

    error = refused(counted, limits)
    counted.settle(first)
    counted.take(limits)

    assert error.headers == {"retry-after": "1"}
    assert error.message == (
        "Concurrency limit exceeded: 2 concurrent requests for this API key. Retry when one finishes."
    )
    refused(counted, limits)


def test_a_place_that_nobody_gives_back_is_free_again_after_its_lease(counted: Counted) -> None:
    limits = of_key(concurrent_requests=1)
    counted.take(limits)

    counted.time.go_by(10)
    refused(counted, limits)
    counted.time.go_by(3600)

    counted.take(limits)


# ---- all of them at once


@pytest.mark.parametrize(
    "team",
    [
        pytest.param({"requests_per_minute": 1}, id="requests"),
        pytest.param({"tokens_per_minute": 5}, id="tokens"),
        pytest.param({"concurrent_requests": 1}, id="calls"),
    ],
)
def test_a_call_that_is_refused_takes_nothing_of_any_limit(counted: Counted, team: dict[str, int]) -> None:
    key = of_key(requests_per_minute=6, tokens_per_minute=60, concurrent_requests=2)
    counted.take(of_team(**team), tokens=5)

    error = refused(counted, key, of_team(**team), tokens=5)

    assert error.limit_exceeded is not None and error.limit_exceeded.scope == "team"
    grant = counted.take(key, tokens=1)
    assert remaining(grant.headers) == (5, 59)
    counted.take(key)
    refused(counted, key)


def test_the_headers_are_those_of_the_scope_that_has_least_left(counted: Counted) -> None:
    key = of_key(requests_per_minute=6, tokens_per_minute=600)
    team = of_team(requests_per_minute=12, tokens_per_minute=60)

    headers = counted.take(key, team, tokens=10).headers

    assert {name: value for name, value in headers.items() if not name.endswith("-reset")} == {
        "anthropic-ratelimit-requests-limit": "6",
        "anthropic-ratelimit-requests-remaining": "5",
        "anthropic-ratelimit-tokens-limit": "60",
        "anthropic-ratelimit-tokens-remaining": "50",
    }


def test_only_the_limits_that_exist_are_in_the_headers(counted: Counted) -> None:
    assert counted.take().headers == {}
    assert counted.take(of_key(concurrent_requests=1)).headers == {}
    assert {name.split("-")[2] for name in counted.take(SIX_A_MINUTE).headers} == {"requests"}


def test_a_refusal_names_scope_limit_value_and_the_longest_wait(counted: Counted) -> None:
    key = of_key(requests_per_minute=60, tokens_per_minute=1_000)
    counted.take(key, tokens=1_000)

    error = refused(counted, key, tokens=500)

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
def test_it_does_so_in_plain_words(counted: Counted, limits: Limits, words: str) -> None:
    with pytest.raises(RateLimitExceeded) as caught:
        while True:
            counted.take(limits)

    assert caught.value.message == words


# ---- given back once


def test_a_grant_is_settled_or_released_once(counted: Counted) -> None:
    limits = of_key(requests_per_minute=6, tokens_per_minute=60)
    grant = counted.take(limits, tokens=50)

    counted.settle(grant, tokens=20)
    counted.settle(grant, tokens=0)
    counted.release(grant)

    assert remaining(counted.take(limits, tokens=1).headers) == (4, 39)


def test_a_call_without_limits_holds_nothing(counted: Counted) -> None:
    grant = counted.take()

    counted.settle(grant, tokens=10)

    assert (grant.headers, grant.shadow_exceeded) == ({}, None)


# ---- limits that only count


def test_a_limit_that_only_counts_refuses_nothing_and_says_what_it_would_have_refused(counted: Counted) -> None:
    grants = [counted.take(SHADOW) for _ in range(3)]

    exceeded = grants[2].shadow_exceeded
    assert [grant.shadow_exceeded for grant in grants[:2]] == [None, None]
    assert exceeded is not None and exceeded.reset is not None
    expected = LimitExceeded(scope="team", limit="requests_per_minute", value=2, shadow=True)
    assert replace(exceeded, reset=None) == expected
    assert grants[2].headers == {}


def test_it_counts_as_if_it_had_refused(counted: Counted) -> None:
    for grant in [counted.take(SHADOW) for _ in range(20)]:
        counted.settle(grant)

    counted.time.go_by(30)

    assert counted.take(SHADOW).shadow_exceeded is None
    assert counted.take(SHADOW).shadow_exceeded is not None


def test_it_does_not_weaken_one_that_refuses(counted: Counted) -> None:
    assert [counted.take(of_key(requests_per_minute=3), SHADOW).shadow_exceeded is None for _ in range(3)] == [1, 1, 0]

    assert remaining(refused(counted, of_key(requests_per_minute=3), SHADOW).headers) == (0, None)


# ---- what changes, and what stays


def test_a_limit_that_was_changed_holds_at_once(counted: Counted) -> None:
    for _ in range(3):
        counted.take(SIX_A_MINUTE)

    assert remaining(counted.take(of_key(requests_per_minute=2)).headers) == (1, None)
    counted.time.go_by(5)
    assert remaining(counted.take(of_key(requests_per_minute=60)).headers) == (5, None)


def test_nothing_is_kept_of_what_has_filled_up_again(counted: Counted) -> None:
    limits = of_key(requests_per_minute=6, tokens_per_minute=60, concurrent_requests=3)
    for grant in [counted.take(limits, tokens=10) for _ in range(3)]:
        counted.settle(grant, tokens=10)

    counted.time.go_by(60)
    counted.release(counted.take(limits, tokens=10))

    if isinstance(counted.time, SharedTime):
        assert counted.time.keys() == []


def test_the_reset_is_when_the_limit_is_full_again(counted: Counted) -> None:
    counted.take(SIX_A_MINUTE)
    told = counted.take(SIX_A_MINUTE).headers["anthropic-ratelimit-requests-reset"]

    full_at = datetime.fromisoformat(told)
    assert told.endswith("Z")
    assert timedelta(seconds=18) < full_at - datetime.now(UTC) <= timedelta(seconds=21)
