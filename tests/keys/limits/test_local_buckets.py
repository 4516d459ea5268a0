"""The local form of the limiter: exact times, threads, memory."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from keys.domain.limits import CONCURRENCY, REQUESTS, TOKENS
from keys.limits.checks import LimitCheck
from keys.limits.local_buckets import KEPT_ANYWAY, LocalRateLimiter
from tests.keys.limits.limiters import LocalTime


def check(limit: str, value: int, *, key: str = "key:1", amount: int = 1) -> LimitCheck:
    return LimitCheck("key", limit, f"{key}:{limit}", value, amount)


@pytest.fixture
def time() -> LocalTime:
    return LocalTime()


@pytest.fixture
def buckets(time: LocalTime) -> LocalRateLimiter:
    return LocalRateLimiter(now_ms=time.now_ms)


@pytest.mark.parametrize("value", [1, 6, 7, 13, 999, 60_000, 70_001])
def test_the_wait_is_exact_to_the_millisecond(buckets: LocalRateLimiter, time: LocalTime, value: int) -> None:
    checks = [check(TOKENS, value, amount=value)]
    assert buckets.consume("first", checks, lease_s=60).is_allowed

    (state,) = buckets.consume("second", checks, lease_s=60).states
    assert state.wait_ms == state.full_in_ms == 60_000
    buckets.settle("first", [check(TOKENS, value, amount=value)], {TOKENS: value + 1})
    (state,) = buckets.consume("second", checks, lease_s=60).states

    time.advance((state.wait_ms - 1) / 1000)
    assert not buckets.consume("second", checks, lease_s=60).is_allowed
    time.advance(0.001)
    assert buckets.consume("second", checks, lease_s=60).is_allowed


@pytest.mark.parametrize("hours", [-2, 2])
def test_changes_of_the_wall_clock_have_no_effect(hours: int) -> None:
    buckets = LocalRateLimiter()
    checks = [check(REQUESTS, 1), check(CONCURRENCY, 1)]
    assert buckets.consume("first", checks, lease_s=60).is_allowed

    with time_machine.travel(datetime.now(UTC) + timedelta(hours=hours)):
        decision = buckets.consume("second", checks, lease_s=60)

    assert not decision.is_allowed
    assert 50_000 < decision.states[0].wait_ms <= 60_000


def test_threads_consume_exactly_the_limit(buckets: LocalRateLimiter) -> None:
    checks = [check(REQUESTS, 100), check(TOKENS, 1_000, amount=3), check(CONCURRENCY, 90)]

    def request(number: int) -> bool:
        return buckets.consume(f"request {number}", checks, lease_s=60).is_allowed

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(request, range(2_000))) == 90


def test_idle_counters_are_evicted_and_others_are_kept(buckets: LocalRateLimiter, time: LocalTime) -> None:
    held = [check(CONCURRENCY, 1, key="held")]
    buckets.consume("held", held, lease_s=10**6)
    negative = [check(TOKENS, 1, key="negative")]
    buckets.settle("negative", negative, {TOKENS: 10**6})
    for number in range(20 * KEPT_ANYWAY):
        time.advance(0.1)
        buckets.consume("request", [check(REQUESTS, 60, key=f"key:{number}")], lease_s=60)

    assert KEPT_ANYWAY <= len(buckets) <= KEPT_ANYWAY + 20
    assert not buckets.consume("another", held, lease_s=60).is_allowed
    assert not buckets.consume("another", negative, lease_s=60).is_allowed
