"""What the form in one process has of its own: the exact moment, threads, memory."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from keys.domain.limits import CONCURRENCY, REQUESTS, TOKENS
from keys.limits.checks import LimitCheck
from keys.limits.local_buckets import KEPT_ANYWAY, LocalRateLimiter
from tests.keys.limits.limiters import LocalTime


def ask(limit: str, value: int, *, key: str = "key:1", amount: int = 1) -> LimitCheck:
    return LimitCheck("key", limit, f"{key}:{limit}", value, amount)


@pytest.fixture
def time() -> LocalTime:
    return LocalTime()


@pytest.fixture
def buckets(time: LocalTime) -> LocalRateLimiter:
    return LocalRateLimiter(now_ms=time.now_ms)


@pytest.mark.parametrize("value", [1, 6, 7, 13, 999, 60_000, 70_001])
def test_the_wait_is_exact_to_the_millisecond(buckets: LocalRateLimiter, time: LocalTime, value: int) -> None:
    wanted = [ask(TOKENS, value, amount=value)]
    assert buckets.consume("first", wanted, lease_s=60).is_allowed

    (state,) = buckets.consume("second", wanted, lease_s=60).states
    assert state.wait_ms == state.full_in_ms == 60_000
    buckets.settle("first", [ask(TOKENS, value, amount=value)], {TOKENS: value + 1})
    (state,) = buckets.consume("second", wanted, lease_s=60).states

    time.go_by((state.wait_ms - 1) / 1000)
    assert not buckets.consume("second", wanted, lease_s=60).is_allowed
    time.go_by(0.001)
    assert buckets.consume("second", wanted, lease_s=60).is_allowed


@pytest.mark.parametrize("hours", [-2, 2])
def test_the_clock_on_the_wall_changes_nothing(hours: int) -> None:
    buckets = LocalRateLimiter()
    wanted = [ask(REQUESTS, 1), ask(CONCURRENCY, 1)]
    assert buckets.consume("first", wanted, lease_s=60).is_allowed

    with time_machine.travel(datetime.now(UTC) + timedelta(hours=hours)):
        decision = buckets.consume("second", wanted, lease_s=60)

    assert not decision.is_allowed
    assert 50_000 < decision.states[0].wait_ms <= 60_000


def test_threads_get_as_much_as_there_is(buckets: LocalRateLimiter) -> None:
    wanted = [ask(REQUESTS, 100), ask(TOKENS, 1_000, amount=3), ask(CONCURRENCY, 90)]

    def call(number: int) -> bool:
        return buckets.consume(f"call {number}", wanted, lease_s=60).is_allowed

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(call, range(2_000))) == 90


def test_what_is_idle_is_forgotten_and_what_is_not_is_kept(buckets: LocalRateLimiter, time: LocalTime) -> None:
    held = [ask(CONCURRENCY, 1, key="held")]
    buckets.consume("held", held, lease_s=10**6)
    indebted = [ask(TOKENS, 1, key="indebted")]
    buckets.settle("indebted", indebted, {TOKENS: 10**6})
    for number in range(20 * KEPT_ANYWAY):
        time.go_by(0.1)
        buckets.consume("call", [ask(REQUESTS, 60, key=f"key:{number}")], lease_s=60)

    assert KEPT_ANYWAY <= len(buckets) <= KEPT_ANYWAY + 20
    assert not buckets.consume("another", held, lease_s=60).is_allowed
    assert not buckets.consume("another", indebted, lease_s=60).is_allowed
