"""Several processes share limits in a real Redis: also during an outage, and when a process dies."""

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

from keys.domain.limits import CONCURRENCY
from keys.errors import RateLimitExceeded
from keys.limits.checks import LimitCheck
from keys.limits.leases import ConcurrencyLeases
from keys.limits.limiter import Limiter, LimitGrant, Limits
from keys.limits.local_counters import ConcurrencySlots
from keys.limits.presence import EPOCH, SLOTS, UNCERTAIN_S, WORKERS, Presence
from keys.limits.redis_buckets import LEASE_S, MARK_S, RedisRateLimiter
from lib.shared_store import SharedStore
from tests.keys.limits.limiters import SharedTime, consume, of_key, of_team, remaining
from tests.support import ROOT
from tests.support.gateway import wait_until
from tests.support.redis_server import RedisServer

MARK = "messages-gateway:request:req_1"
New = Callable[[], Limiter]
NO_DELAY_S = 0.02  # without a wait for Redis, which takes 0.05


def is_rejected(limiter: Limiter, *limits: Limits, request_id: str = "req_checked") -> bool:
    try:
        limiter.release(consume(limiter, *limits, request_id=request_id))
    except RateLimitExceeded:
        return True
    return False


def is_admitted(limiter: Limiter, *limits: Limits) -> bool:
    return not is_rejected(limiter, *limits)


# ---- Shared limits.


class Process:
    """A real process that consumes limits on command (tests/keys/limits/hammer.py)."""

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

    def read_line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def consume(self, *limits: dict[str, Any]) -> None:
        """Start requests. It prints how many were admitted."""
        self._write(json.dumps(limits))

    def release(self) -> None:
        """Release what it has consumed, or it would renew its slots in the next test."""
        self._write("release")
        while self.read_line() != "released":
            pass

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="module")
def running_processes(running_redis: RedisServer) -> Iterator[list[Process]]:
    processes = [Process(f"process-{number}", running_redis.url, threads=8) for number in range(4)]
    assert [process.read_line() for process in processes] == ["ready"] * 4
    yield processes
    for process in processes:
        process.kill()


@pytest.fixture
def four_processes(running_processes: list[Process]) -> Iterator[list[Process]]:
    """Four processes that hold nothing before and after the test."""
    yield running_processes
    for process in running_processes:
        process.release()


@pytest.mark.parametrize(
    "limits",
    [
        pytest.param([{"requests_per_minute": 5}], id="requests"),
        pytest.param([{"tokens_per_minute": 5}], id="tokens"),
        pytest.param([{"concurrent_requests": 5}], id="concurrency"),
        pytest.param(
            [{"requests_per_minute": 300, "concurrent_requests": 200}, {"scope": "team", "tokens_per_minute": 5}],
            id="all",
        ),
    ],
)
def test_four_processes_admit_exactly_the_limit(
    redis_server: RedisServer, four_processes: list[Process], limits: list[dict[str, Any]]
) -> None:
    started = time.monotonic()
    for process in four_processes:
        process.consume(*({"scope": "key", "id": f"{number}", **each} for number, each in enumerate(limits)))
    admitted = [int(process.read_line()) for process in four_processes]
    took_s = time.monotonic() - started

    assert sum(admitted) == 5
    assert took_s < 12  # by then the next unit would have been refilled


def test_the_slots_of_a_dead_process_expire_with_their_lease(redis_server: RedisServer, new_limiter: New) -> None:
    process = Process("dies", redis_server.url, threads=1)
    assert process.read_line() == "ready"
    process.consume({"scope": "key", "id": "key:1", "concurrent_requests": 2})
    assert process.read_line() == "2"
    process.kill()
    other = new_limiter()
    shared_time = SharedTime(redis_server.url)

    shared_time.advance(LEASE_S / 2)
    assert is_rejected(other, of_key(concurrent_requests=2))
    shared_time.advance(LEASE_S / 2)

    assert is_admitted(other, of_key(concurrent_requests=2))
    shared_time.close()


def test_an_in_flight_request_keeps_its_slot_beyond_the_lease(redis_server: RedisServer, new_limiter: New) -> None:
    limiter, other = new_limiter(), new_limiter()
    grant = consume(limiter, of_key(concurrent_requests=1))
    shared_time = SharedTime(redis_server.url)

    for _ in range(3):
        shared_time.advance(LEASE_S * 0.6)
        limiter._leases._renew()
        assert is_rejected(other, of_key(concurrent_requests=1))

    limiter.settle(grant, tokens=0)
    assert is_admitted(other, of_key(concurrent_requests=1))
    shared_time.close()


def test_a_request_that_finishes_during_its_renewal_keeps_no_slot(redis_server: RedisServer, new_limiter: New) -> None:
    class FinishesDuringRenewal(RedisRateLimiter):
        def renew(self, slots: Mapping[str, Sequence[LimitCheck]]) -> bool | None:
            leases.settle("req_1", {})
            return super().renew(slots)

    store = SharedStore()
    presence = Presence(store)
    shared = FinishesDuringRenewal(store, presence)
    leases = ConcurrencyLeases(shared, store, presence)
    leases.close()  # the test renews it
    limits = of_key(concurrent_requests=1)
    checks = limits.checks()
    shared.consume("req_1", checks, lease_s=60)
    leases.add("req_1", checks, lease_s=60, is_in_redis=True)

    leases._renew()
    leases._send_pending_refunds()

    assert is_admitted(new_limiter(), limits)
    store.close()


def test_redis_holds_nothing_beyond_replenishment_when_all_requests_have_finished(
    redis_server: RedisServer, new_limiter: New
) -> None:
    limiter = new_limiter()
    limits = of_key(requests_per_minute=60, tokens_per_minute=600, concurrent_requests=5)
    shared_time = SharedTime(redis_server.url)
    for number in range(5):
        limiter.settle(consume(limiter, limits, request_id=f"req_{number}", tokens=50), tokens=70)

    keys = shared_time.keys()
    assert keys == [f"messages-gateway:limit:key:1:{name}_per_minute" for name in ("requests", "tokens")]
    assert all(shared_time.ttl_s(key) <= 61 for key in keys)
    shared_time.close()


def test_the_mark_of_a_killed_worker_expires_soon_and_that_of_a_long_request_is_renewed(
    redis_server: RedisServer, new_limiter: New
) -> None:
    limiter = new_limiter()
    consume(limiter, of_key(tokens_per_minute=600), lease_s=24 * 3600)
    shared_time = SharedTime(redis_server.url)
    assert 0 < shared_time.ttl_s(MARK) <= MARK_S

    redis_server.execute("PEXPIRE", MARK, "1000")
    limiter._leases._renew()

    assert shared_time.ttl_s(MARK) > MARK_S / 2
    shared_time.close()


FOREIGN = {
    "text": ["SET {} text"],
    "list": ["RPUSH {} a b"],
    "stream": ["XADD {} * a b"],
    "set of members": ["SADD {} req_1"],
    "no numbers": ["HSET {} level abc at def limit ghi"],
    "infinite": ["HSET {} level inf at nan limit -inf offset nan"],
    "huge": ["HSET {} level -1e300 at 1e300 limit 1e300"],
    "half": ["HSET {} level -60000"],
    "hex": ["HSET {} level 0x at 0x limit 0x"],
}


@pytest.mark.parametrize("commands", FOREIGN.values(), ids=FOREIGN)
def test_unreadable_entries_count_as_absent(redis_server: RedisServer, new_limiter: New, commands: list[str]) -> None:
    limits = of_key(requests_per_minute=60, tokens_per_minute=600, concurrent_requests=5)
    names = [f"messages-gateway:limit:{check.key}" for check in limits.checks()]
    for name in (MARK, *names):
        for command in commands:
            redis_server.execute(*command.format(name).split())
    limiter = new_limiter()

    grant = consume(limiter, limits, tokens=10)
    limiter.settle(grant, tokens=5)

    assert not limiter._store.is_unavailable
    assert remaining(grant.headers) == (59, 595)
    shared_time = SharedTime(redis_server.url)
    stored = shared_time.keys()
    assert all(0 < shared_time.ttl_s(key) <= 121 for key in stored)
    shared_time.close()


@pytest.mark.parametrize("hours", [-2, 2])
def test_a_change_of_the_clock_of_redis_causes_no_lasting_rejections(
    redis_server: RedisServer, new_limiter: New, hours: int
) -> None:
    """Stored times seem to be in the future, or long ago."""
    limiter = new_limiter()
    rate, slots = of_key(requests_per_minute=60), of_team(concurrent_requests=1)
    consume(limiter, slots)
    while is_consumed(limiter, rate):
        pass
    shared_time = SharedTime(redis_server.url)

    shared_time.advance(hours * 3600)
    is_rejected(limiter, rate, slots)

    shared_time.advance(2)
    assert is_admitted(limiter, rate, slots)
    shared_time.close()


def is_consumed(limiter: Limiter, limits: Limits) -> bool:
    with suppress(RateLimitExceeded):
        consume(limiter, limits)
        return True
    return False


# ---- While Redis is unavailable.


class Load:
    """Threads that send one request after the other, until the end of the block."""

    def __init__(self, limiter: Limiter, *limits: Limits, threads: int = 4, pause_s: float = 0.01) -> None:
        self._limiter = limiter
        self._limits = limits
        self._pause_s = pause_s
        self._stopping = Event()
        self.took_s: list[tuple[float, float]] = []
        """The start of each request, and the duration of `consume` and `settle` together."""
        self.rejections: list[float] = []
        self._threads = [Thread(target=self._run, args=(number,)) for number in range(threads)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _run(self, thread: int) -> None:
        number = 0
        while not self._stopping.wait(self._pause_s):
            number += 1
            started = time.monotonic()
            try:
                grant = consume(self._limiter, *self._limits, request_id=f"load-{thread}-{number}")
                self._limiter.settle(grant, tokens=1)
            except RateLimitExceeded:
                self.rejections.append(started)
            self.took_s.append((started, time.monotonic() - started))

    def delays_s(self, since: float, until: float) -> list[float]:
        return [took_s for started, took_s in self.took_s if since <= started < until]


@pytest.mark.parametrize("how", ["stopped", "frozen"])
def test_an_outage_under_load_delays_only_the_first_requests_and_rejects_none_by_mistake(
    redis_server: RedisServer, new_limiter: New, settings: Settings, how: str
) -> None:
    settings.WEB_CONCURRENCY, settings.REDIS_TIMEOUT_S = 2, 0.05
    limiter = new_limiter()
    generous = of_key(requests_per_minute=30_000, tokens_per_minute=30_000, concurrent_requests=20)
    with Load(limiter, generous) as load:
        wait_until(lambda: len(load.took_s) > 100)
        unavailable_at = time.monotonic()
        redis_server.freeze() if how == "frozen" else redis_server.stop()
        try:
            time.sleep(2.5)
        finally:
            available_at = time.monotonic()
            redis_server.thaw() if how == "frozen" else redis_server.start()
        wait_until(lambda: not limiter._store.is_unavailable)
        recovered_at = time.monotonic()
        wait_until(lambda: len(load.took_s) > 500)

    assert load.rejections == []
    assert max(load.delays_s(unavailable_at, available_at)) < 0.25
    undelayed = load.delays_s(unavailable_at + 0.5, recovered_at)
    assert sum(took_s > NO_DELAY_S for took_s in undelayed) <= len(undelayed) / 100
    assert recovered_at - available_at < 5


def test_during_an_outage_each_process_enforces_its_share(
    redis_server: RedisServer, new_limiter: New, settings: Settings
) -> None:
    settings.WEB_CONCURRENCY = 2
    limits = of_key(requests_per_minute=6, tokens_per_minute=12, concurrent_requests=2)
    limiters = [new_limiter(), new_limiter()]
    redis_server.stop()
    for limiter in limiters:
        detect_outage(limiter)

    admitted = [0, 0]
    for number, limiter in enumerate(limiters):
        with suppress(RateLimitExceeded):
            while True:
                limiter.settle(consume(limiter, limits, request_id=f"req_{number}"), tokens=1)
                admitted[number] += 1

    redis_server.start()
    assert admitted == [3, 3]


def detect_outage(limiter: Limiter) -> None:
    while not limiter._store.is_unavailable:
        consume(limiter, of_team(requests_per_minute=1_000), request_id="req_detects")


@pytest.mark.parametrize("limit", ["requests_per_minute", "tokens_per_minute", "concurrent_requests"])
def test_a_share_admits_at_least_one_request(settings: Settings, new_limiter: New, limit: str) -> None:
    settings.WEB_CONCURRENCY = 4
    limiter = new_limiter()

    consume(limiter, of_key(**{limit: 1}), tokens=100)

    assert is_rejected(limiter, of_key(**{limit: 1}))


def test_what_a_frozen_redis_may_have_consumed_is_refunded_when_it_responds(
    redis_server: RedisServer, new_limiter: New
) -> None:
    limits = of_key(tokens_per_minute=60, concurrent_requests=1)
    limiter, other = new_limiter(), new_limiter()
    redis_server.freeze()
    try:
        grant = consume(limiter, limits, tokens=60)
        limiter.settle(grant, tokens=1)
    finally:
        redis_server.thaw()

    wait_until(lambda: is_admitted(other, limits))
    wait_until(lambda: (remaining(consume_and_release(other, limits).headers)[1] or 0) >= 58)


def test_a_request_that_was_rejected_meanwhile_is_refunded(
    redis_server: RedisServer, new_limiter: New, settings: Settings
) -> None:
    settings.WEB_CONCURRENCY = 2
    limiter, other = new_limiter(), new_limiter()
    redis_server.stop()
    detect_outage(limiter)
    grant = consume(limiter, of_key(concurrent_requests=2), request_id="req_local")
    redis_server.start()
    wait_until(lambda: not both_slots_are_free(other))
    redis_server.freeze()
    try:
        assert is_rejected(limiter, of_key(concurrent_requests=2))  # by this process; Redis gets the request later
    finally:
        redis_server.thaw()

    limiter.settle(grant, tokens=0)
    wait_until(lambda: both_slots_are_free(other))


def consume_and_release(limiter: Limiter, limits: Limits) -> LimitGrant:
    grant = consume(limiter, limits, request_id="req_reads")
    limiter.release(grant)
    return grant


@pytest.mark.parametrize("is_detected", [True, False], ids=["detected", "not yet detected"])
def test_a_request_that_finished_during_an_outage_is_settled_afterwards(
    redis_server: RedisServer, new_limiter: New, is_detected: bool
) -> None:
    limits = of_key(tokens_per_minute=60, concurrent_requests=1)
    limiter, other = new_limiter(), new_limiter()
    grant = consume(limiter, limits, tokens=60)
    redis_server.freeze()
    try:
        if is_detected:
            detect_outage(limiter)
        limiter.settle(grant, tokens=1)
    finally:
        redis_server.thaw()

    wait_until(lambda: is_admitted(other, limits))
    assert (remaining(consume_and_release(other, limits).headers)[1] or 0) >= 58


def test_tokens_that_redis_did_not_count_are_not_refunded_there(redis_server: RedisServer, new_limiter: New) -> None:
    """The two steps of a request are independent: Redis was available for the first one only."""
    limits = of_key(requests_per_minute=60, tokens_per_minute=60)
    limiter, other = new_limiter(), new_limiter()
    grant = limiter.consume("req_1", [limits], lease_s=60)
    consume(other, limits, request_id="req_other", tokens=60)
    redis_server.freeze()
    try:
        detect_outage(limiter)
        limiter.consume_tokens(grant, tokens=50)
    finally:
        redis_server.thaw()
    wait_until(lambda: not limiter._store.is_unavailable)

    limiter.settle(grant, tokens=0)

    assert other.check([limits]).states[1].remaining < 45  # what was refilled meanwhile: one per second


def test_a_server_that_lost_its_data_learns_of_the_in_flight_requests(
    redis_server: RedisServer, new_limiter: New
) -> None:
    limiter, other = new_limiter(), new_limiter()
    shared = consume(limiter, of_key(concurrent_requests=2), request_id="req_shared")
    redis_server.stop()
    detect_outage(limiter)
    local = consume(limiter, of_key(concurrent_requests=2), request_id="req_local")
    redis_server.start()

    wait_until(lambda: is_rejected(other, of_key(concurrent_requests=2)), within_s=10)

    limiter.settle(shared, tokens=0)
    limiter.settle(local, tokens=0)
    wait_until(lambda: both_slots_are_free(other))


def both_slots_are_free(limiter: Limiter) -> bool:
    grants = []
    with suppress(RateLimitExceeded):
        for number in range(2):
            grants.append(consume(limiter, of_key(concurrent_requests=2), request_id=f"req_free_{number}"))
    for grant in grants:
        limiter.release(grant)
    return len(grants) == 2


# ---- Counting in a process starts from the last report.


def await_report(limiter: Limiter, *, used: int) -> None:
    """Wait until a limiter has reported to Redis, and Redis has reported so many slots."""
    limiter.start()

    def knows() -> bool:
        counter = limiter._local._counters.get(f"key:1:{CONCURRENCY}")
        return isinstance(counter, ConcurrencySlots) and len(counter._lease_ends) + counter.others == used

    wait_until(lambda: limiter._presence._workers and knows())


def in_flight(limiters: list[Limiter], limits: Limits, *, count: int) -> int:
    """Send requests to each limiter in turn that do not end. Return how many were admitted."""
    admitted = 0
    for number in range(count):
        with suppress(RateLimitExceeded):
            consume(limiters[number % len(limiters)], limits, request_id=f"more-{number}")
            admitted += 1
    return admitted


@pytest.mark.parametrize("holders", [1, 2], ids=["all in one process", "spread"])
@pytest.mark.parametrize("how", ["stopped", "frozen", "emptied", "restarted"])
def test_slots_in_use_are_not_given_away_without_redis(
    redis_server: RedisServer, new_limiter: New, settings: Settings, how: str, holders: int
) -> None:
    settings.WEB_CONCURRENCY, settings.REDIS_TIMEOUT_S = 2, 0.2
    limits = of_key(concurrent_requests=5)
    limiters = [new_limiter(), new_limiter()]
    for number in range(5):
        consume(limiters[number % holders], limits, request_id=f"req_{number}")
    for limiter in limiters:
        await_report(limiter, used=5)

    if how == "emptied":
        redis_server.empty()
    elif how == "frozen":
        redis_server.freeze()
    else:
        redis_server.stop()
    try:
        admitted = in_flight(limiters, limits, count=10)
    finally:
        redis_server.thaw() if how == "frozen" else redis_server.restore()
    if how == "restarted":
        until = time.monotonic() + UNCERTAIN_S + 1
        while time.monotonic() < until:
            admitted += in_flight(limiters, limits, count=2)
            time.sleep(0.05)

    assert admitted == 0


def test_free_slots_are_divided_where_one_process_has_more_than_its_share(
    redis_server: RedisServer, new_limiter: New
) -> None:
    limits = of_key(concurrent_requests=6)
    limiters = [new_limiter() for _ in range(4)]
    for limiter in limiters:
        limiter.start()
    wait_until(lambda: all(limiter._presence.workers == 4 for limiter in limiters))
    for number in range(4):
        consume(limiters[0], limits, request_id=f"req_{number}")
    for limiter in limiters:
        await_report(limiter, used=4)
    wait_until(lambda: {limiter._presence.rank for limiter in limiters} == {0, 1, 2, 3})
    redis_server.stop()

    admitted = in_flight(limiters, limits, count=20)

    redis_server.restore()
    assert admitted == 2


def test_slots_that_became_free_during_an_outage_are_given_up_to_the_share(
    redis_server: RedisServer, new_limiter: New, settings: Settings
) -> None:
    settings.WEB_CONCURRENCY = 2
    limits = of_key(concurrent_requests=4)
    limiters = [new_limiter(), new_limiter()]
    grants = [consume(limiters[number % 2], limits, request_id=f"req_{number}") for number in range(4)]
    for limiter in limiters:
        await_report(limiter, used=4)
    redis_server.stop()
    for grant, limiter in zip(grants, limiters * 2, strict=True):
        limiter.settle(grant, tokens=0)

    admitted = in_flight(limiters, limits, count=20)

    redis_server.restore()
    assert admitted == 4


def test_the_shares_are_those_of_the_workers_of_all_machines(
    redis_server: RedisServer, new_limiter: New, settings: Settings
) -> None:
    settings.WEB_CONCURRENCY = 1
    limits = of_key(requests_per_minute=60, concurrent_requests=8)
    limiters = [new_limiter() for _ in range(4)]
    for limiter in limiters:
        limiter.start()
    wait_until(lambda: all(limiter._presence.workers == 4 for limiter in limiters))
    redis_server.stop()

    admitted = in_flight(limiters, limits, count=60)

    redis_server.restore()
    assert admitted == 8


def test_tokens_that_were_used_before_an_outage_stay_used(
    redis_server: RedisServer, new_limiter: New, settings: Settings
) -> None:
    settings.WEB_CONCURRENCY = 2
    limits = of_key(tokens_per_minute=6_000)
    limiter = new_limiter()
    grant = consume(limiter, limits, tokens=5_400)
    redis_server.stop()
    detect_outage(limiter)

    consume(limiter, limits, tokens=250, request_id="req_share")  # half of the tenth that remained
    with pytest.raises(RateLimitExceeded):
        consume(limiter, limits, tokens=250, request_id="req_beyond")
    limiter.settle(grant, tokens=400)
    consume(limiter, limits, tokens=2_000, request_id="req_refunded")

    redis_server.restore()


def test_a_worker_that_ends_is_not_counted(redis_server: RedisServer, new_limiter: New) -> None:
    staying, ending = new_limiter(), new_limiter()
    for limiter in (staying, ending):
        limiter.start()
    wait_until(lambda: staying._presence.workers == 2)

    ending.close()

    wait_until(lambda: staying._presence.workers == 1)


@pytest.mark.parametrize("commands", FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize("name", [WORKERS, EPOCH, SLOTS])
def test_unreadable_entries_about_workers_count_as_absent(
    redis_server: RedisServer, new_limiter: New, commands: list[str], name: str
) -> None:
    for command in commands:
        redis_server.execute(*command.format(name).split())
    limiter = new_limiter()
    limits = of_key(concurrent_requests=5)

    grant = consume(limiter, limits)
    wait_until(lambda: limiter._presence._workers == 1)
    limiter.settle(grant, tokens=0)

    assert is_admitted(limiter, limits) and not limiter._store.is_unavailable
