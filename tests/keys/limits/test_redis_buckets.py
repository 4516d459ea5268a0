"""Several processes count together, in a real Redis: also while it is away, and when one of them dies."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from threading import Event, Thread
from typing import Any

import pytest
from pytest_django import Settings

from keys.errors import RateLimitExceeded
from keys.limits.checks import LimitCheck
from keys.limits.leases import ConcurrencyLeases
from keys.limits.limiter import Limiter, LimitGrant, Limits
from keys.limits.redis_buckets import LEASE_S, RedisRateLimiter
from lib.shared_store import Store
from tests.keys.limits.limiters import SharedTime, of_key, of_team, remaining
from tests.support import ROOT
from tests.support.gateway import wait_until
from tests.support.redis_server import RedisServer

New = Callable[[], Limiter]
NO_DELAY_S = 0.02  # what nobody waits for Redis takes; a wait for it takes 0.05


def take(limiter: Limiter, *limits: Limits, request_id: str = "req_1", tokens: int = 1) -> LimitGrant:
    return limiter.consume(request_id, limits, tokens=tokens, lease_s=3600)


def is_refused(limiter: Limiter, *limits: Limits, request_id: str = "req_asked") -> bool:
    try:
        limiter.release(take(limiter, *limits, request_id=request_id))
    except RateLimitExceeded:
        return True
    return False


def gets_through(limiter: Limiter, *limits: Limits) -> bool:
    return not is_refused(limiter, *limits)


# ---- together


class Process:
    """A real process that makes calls as it is told (tests/keys/limits/hammer.py)."""

    def __init__(self, name: str, redis_url: str, *, threads: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.keys.limits.hammer", name, str(threads)],
            cwd=ROOT,
            env={
                **os.environ,
                "REDIS_URL": redis_url,
                "REDIS_TIMEOUT_S": "20",
                "DJANGO_SETTINGS_MODULE": "project.settings",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def says(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def call(self, *limits: dict[str, Any]) -> None:
        """Begin to make calls; it says how many got through."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(limits) + "\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="module")
def four_processes(running_redis: RedisServer) -> Iterator[list[Process]]:
    processes = [Process(f"process-{number}", running_redis.url, threads=8) for number in range(4)]
    assert [process.says() for process in processes] == ["ready"] * 4
    yield processes
    for process in processes:
        process.kill()


@pytest.mark.parametrize(
    "limits",
    [
        pytest.param([{"requests_per_minute": 5}], id="requests"),
        pytest.param([{"tokens_per_minute": 5}], id="tokens"),
        pytest.param([{"concurrent_requests": 5}], id="calls"),
        pytest.param(
            [{"requests_per_minute": 300, "concurrent_requests": 200}, {"scope": "team", "tokens_per_minute": 5}],
            id="all",
        ),
    ],
)
def test_of_many_calls_in_four_processes_exactly_as_many_get_through_as_may(
    redis_server: RedisServer, four_processes: list[Process], limits: list[dict[str, Any]]
) -> None:
    begun = time.monotonic()
    for process in four_processes:
        process.call(*({"scope": "key", "id": f"{number}", **each} for number, each in enumerate(limits)))
    got_through = [int(process.says()) for process in four_processes]
    took_s = time.monotonic() - begun

    assert sum(got_through) == 5
    assert took_s < 12  # in which the next one would have come back


def test_the_places_of_a_process_that_died_are_free_again_after_their_lease(
    redis_server: RedisServer, new_limiter: New
) -> None:
    process = Process("dies", redis_server.url, threads=1)
    assert process.says() == "ready"
    process.call({"scope": "key", "id": "key:1", "concurrent_requests": 2})
    assert process.says() == "2"
    process.kill()
    other = new_limiter()
    passing = SharedTime(redis_server.url)

    passing.go_by(LEASE_S / 2)
    assert is_refused(other, of_key(concurrent_requests=2))
    passing.go_by(LEASE_S / 2)

    assert gets_through(other, of_key(concurrent_requests=2))
    passing.close()


def test_a_running_call_keeps_its_place_for_longer_than_a_lease(redis_server: RedisServer, new_limiter: New) -> None:
    limiter, other = new_limiter(), new_limiter()
    grant = take(limiter, of_key(concurrent_requests=1))
    passing = SharedTime(redis_server.url)

    for _ in range(3):
        passing.go_by(LEASE_S * 0.6)
        limiter._leases._renew()
        assert is_refused(other, of_key(concurrent_requests=1))

    limiter.settle(grant, tokens=0)
    assert gets_through(other, of_key(concurrent_requests=1))
    passing.close()


def test_a_call_that_ends_while_it_is_renewed_keeps_no_place(redis_server: RedisServer, new_limiter: New) -> None:
    class EndsMeanwhile(RedisRateLimiter):
        def renew(self, places: Mapping[str, Sequence[LimitCheck]]) -> bool | None:
            open_calls.settle("req_1", {})
            return super().renew(places)

    store = Store()
    shared = EndsMeanwhile(store)
    open_calls = ConcurrencyLeases(shared, store)
    open_calls.close()  # it is renewed by hand here
    places = of_key(concurrent_requests=1)
    asks = places.checks(tokens=0)
    shared.consume("req_1", asks, lease_s=60)
    open_calls.add("req_1", asks, lease_s=60, is_in_redis=True)

    open_calls._renew()
    open_calls._send_pending_refunds()

    assert gets_through(new_limiter(), places)
    store.close()


def test_nothing_is_left_in_redis_when_all_calls_have_ended(redis_server: RedisServer, new_limiter: New) -> None:
    limiter = new_limiter()
    limits = of_key(requests_per_minute=60, tokens_per_minute=600, concurrent_requests=5)
    passing = SharedTime(redis_server.url)
    for number in range(5):
        limiter.settle(take(limiter, limits, request_id=f"req_{number}", tokens=50), tokens=70)

    kept = passing.keys()
    assert kept == [f"messages-gateway:limit:key:1:{name}_per_minute" for name in ("requests", "tokens")]
    assert all(passing.lives_s(key) <= 61 for key in kept)
    passing.close()


@pytest.mark.parametrize("hours", [-2, 2])
def test_a_clock_of_redis_that_was_set_refuses_nobody_for_long(
    redis_server: RedisServer, new_limiter: New, hours: int
) -> None:
    """What was kept looks as if it were of the future, or long ago."""
    limiter = new_limiter()
    rate, places = of_key(requests_per_minute=60), of_team(concurrent_requests=1)
    take(limiter, places)
    while gets_through_once(limiter, rate):
        pass
    passing = SharedTime(redis_server.url)

    passing.go_by(hours * 3600)
    is_refused(limiter, rate, places)

    passing.go_by(2)
    assert gets_through(limiter, rate, places)
    passing.close()


def gets_through_once(limiter: Limiter, limits: Limits) -> bool:
    with suppress(RateLimitExceeded):
        take(limiter, limits)
        return True
    return False


# ---- while Redis is away


class Load:
    """Calls one after the other in threads, until it is told to end."""

    def __init__(self, limiter: Limiter, *limits: Limits, threads: int = 4, pause_s: float = 0.01) -> None:
        self._limiter = limiter
        self._limits = limits
        self._pause_s = pause_s
        self._end = Event()
        self.took_s: list[tuple[float, float]] = []
        """When each call began, and how long `take` and `settle` took together."""
        self.refusals: list[float] = []
        self._threads = [Thread(target=self._run, args=(number,)) for number in range(threads)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _run(self, thread: int) -> None:
        number = 0
        while not self._end.wait(self._pause_s):
            number += 1
            begun = time.monotonic()
            try:
                grant = take(self._limiter, *self._limits, request_id=f"load-{thread}-{number}")
                self._limiter.settle(grant, tokens=1)
            except RateLimitExceeded:
                self.refusals.append(begun)
            self.took_s.append((begun, time.monotonic() - begun))

    def delays_s(self, since: float, until: float) -> list[float]:
        return [took_s for begun, took_s in self.took_s if since <= begun < until]


@pytest.mark.parametrize("how", ["stopped", "frozen"])
def test_an_outage_under_load_delays_the_first_calls_by_a_moment_and_refuses_nobody_by_mistake(
    redis_server: RedisServer, new_limiter: New, settings: Settings, how: str
) -> None:
    settings.WEB_CONCURRENCY, settings.REDIS_TIMEOUT_S = 2, 0.05
    limiter = new_limiter()
    generous = of_key(requests_per_minute=30_000, tokens_per_minute=30_000, concurrent_requests=20)
    with Load(limiter, generous) as load:
        wait_until(lambda: len(load.took_s) > 100)
        away_at = time.monotonic()
        redis_server.freeze() if how == "frozen" else redis_server.stop()
        try:
            time.sleep(2.5)
        finally:
            back_at = time.monotonic()
            redis_server.thaw() if how == "frozen" else redis_server.start()
        wait_until(lambda: not limiter._store.is_away)
        recovered_at = time.monotonic()
        wait_until(lambda: len(load.took_s) > 500)

    assert load.refusals == []
    assert max(load.delays_s(away_at, back_at)) < 0.25
    undelayed = load.delays_s(away_at + 0.5, recovered_at)
    assert sum(took_s > NO_DELAY_S for took_s in undelayed) <= len(undelayed) / 100
    assert recovered_at - back_at < 5


def test_while_it_is_away_each_process_has_its_share_and_no_more(
    redis_server: RedisServer, new_limiter: New, settings: Settings
) -> None:
    settings.WEB_CONCURRENCY = 2
    limits = of_key(requests_per_minute=6, tokens_per_minute=12, concurrent_requests=2)
    limiters = [new_limiter(), new_limiter()]
    redis_server.stop()
    for limiter in limiters:
        notice_the_outage(limiter)

    got_through = [0, 0]
    for number, limiter in enumerate(limiters):
        with suppress(RateLimitExceeded):
            while True:
                limiter.settle(take(limiter, limits, request_id=f"req_{number}"), tokens=1)
                got_through[number] += 1

    redis_server.start()
    assert got_through == [3, 3]


def notice_the_outage(limiter: Limiter) -> None:
    while not limiter._store.is_away:
        take(limiter, of_team(requests_per_minute=1_000), request_id="req_notices")


@pytest.mark.parametrize("limit", ["requests_per_minute", "tokens_per_minute", "concurrent_requests"])
def test_a_share_lets_at_least_one_call_through(settings: Settings, new_limiter: New, limit: str) -> None:
    settings.WEB_CONCURRENCY = 4
    limiter = new_limiter()

    take(limiter, of_key(**{limit: 1}), tokens=100)

    assert is_refused(limiter, of_key(**{limit: 1}))


def test_what_a_frozen_redis_was_asked_for_in_vain_is_given_back_once_it_is_thawed(
    redis_server: RedisServer, new_limiter: New
) -> None:
    limits = of_key(tokens_per_minute=60, concurrent_requests=1)
    limiter, other = new_limiter(), new_limiter()
    redis_server.freeze()
    try:
        grant = take(limiter, limits, tokens=60)
        limiter.settle(grant, tokens=1)
    finally:
        redis_server.thaw()

    wait_until(lambda: gets_through(other, limits))
    wait_until(lambda: (remaining(take_and_release(other, limits).headers)[1] or 0) >= 58)


def test_nor_is_anything_left_of_a_call_that_was_refused_meanwhile(
    redis_server: RedisServer, new_limiter: New, settings: Settings
) -> None:
    settings.WEB_CONCURRENCY = 2
    limiter, other = new_limiter(), new_limiter()
    redis_server.stop()
    notice_the_outage(limiter)
    grant = take(limiter, of_key(concurrent_requests=2), request_id="req_local")
    redis_server.start()
    wait_until(lambda: not both_places_are_free(other))
    redis_server.freeze()
    try:
        assert is_refused(limiter, of_key(concurrent_requests=2))  # here, but not by Redis, which hears of it later
    finally:
        redis_server.thaw()

    limiter.settle(grant, tokens=0)
    wait_until(lambda: both_places_are_free(other))


def take_and_release(limiter: Limiter, limits: Limits) -> LimitGrant:
    grant = take(limiter, limits, request_id="req_looks")
    limiter.release(grant)
    return grant


@pytest.mark.parametrize("is_noticed", [True, False], ids=["noticed", "not yet noticed"])
def test_a_call_that_ended_while_redis_was_frozen_holds_nothing_afterwards(
    redis_server: RedisServer, new_limiter: New, is_noticed: bool
) -> None:
    limits = of_key(tokens_per_minute=60, concurrent_requests=1)
    limiter, other = new_limiter(), new_limiter()
    grant = take(limiter, limits, tokens=60)
    redis_server.freeze()
    try:
        if is_noticed:
            notice_the_outage(limiter)
        limiter.settle(grant, tokens=1)
    finally:
        redis_server.thaw()

    wait_until(lambda: gets_through(other, limits))
    assert (remaining(take_and_release(other, limits).headers)[1] or 0) >= 58


def test_a_server_that_lost_all_it_knew_learns_again_of_the_calls_that_run(
    redis_server: RedisServer, new_limiter: New
) -> None:
    limiter, other = new_limiter(), new_limiter()
    known = take(limiter, of_key(concurrent_requests=2), request_id="req_known")
    redis_server.stop()
    notice_the_outage(limiter)
    local = take(limiter, of_key(concurrent_requests=2), request_id="req_local")
    redis_server.start()

    wait_until(lambda: is_refused(other, of_key(concurrent_requests=2)), within_s=10)

    limiter.settle(known, tokens=0)
    limiter.settle(local, tokens=0)
    wait_until(lambda: both_places_are_free(other))


def both_places_are_free(limiter: Limiter) -> bool:
    grants = []
    with suppress(RateLimitExceeded):
        for number in range(2):
            grants.append(take(limiter, of_key(concurrent_requests=2), request_id=f"req_free_{number}"))
    for grant in grants:
        limiter.release(grant)
    return len(grants) == 2
