"""What several processes know together, over a real Redis: circuits and turns to probe; nothing of it costs time."""

import copy
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

from keys.store import ANSWER_WITHIN_S, FAILURES_IN_A_ROW, LEFT_ALONE_S, Store
from messages_api.circuits import LOOK_EVERY_S, PROBE_EVERY_S, Circuit, Opened
from messages_api.models import Route, RouteTarget
from messages_api.shared_circuits import OPEN, TURN, SharedCircuits
from tests.clock import Clock
from tests.conftest import missing
from tests.gateway import Gateway, GatewayServer
from tests.redis_server import RedisMissing, RedisServer
from tests.upstream import ScriptedUpstream, failure

PATH = "/api/v1/messages"
BODY = {"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}]}
SLACK_S = 0.1  # a busy machine; it is less than what a second failure after the third would add up to


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    try:
        server = RedisServer()
    except RedisMissing:
        missing("Redis is not installed")
        raise
    with server:
        yield server


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(redis_server: RedisServer, settings: Settings, clock: Clock) -> Iterator[Store]:
    settings.REDIS_URL = redis_server.url
    store = Store(clock=clock)
    yield store
    store.close()


def ping(redis: Any) -> bool:
    return bool(redis.ping())


def times_of(store: Store, count: int) -> list[float]:
    """How long each of so many questions took."""
    took = []
    for _ in range(count):
        begun = time.monotonic()
        store.run(ping, otherwise=False)
        took.append(time.monotonic() - begun)
    return took


# ---- the store


def test_a_command_returns_what_redis_says(store: Store) -> None:
    assert store.is_configured
    assert store.run(ping, otherwise=False) is True
    assert store.run(lambda redis: redis.get("nothing"), otherwise=None) is None


def test_without_an_address_nobody_is_asked(settings: Settings) -> None:
    settings.REDIS_URL = ""
    store = Store()

    assert not store.is_configured
    assert store.run(ping, otherwise=False) is False


@pytest.mark.parametrize("fault", ["stop", "freeze"])
@pytest.mark.parametrize("is_connected", [True, False], ids=["connected", "not yet connected"])
def test_a_redis_that_does_not_answer_costs_three_short_waits_and_then_none(
    store: Store, redis_server: RedisServer, fault: str, is_connected: bool
) -> None:
    if is_connected:
        store.run(ping, otherwise=False)

    getattr(redis_server, fault)()
    took = times_of(store, FAILURES_IN_A_ROW + 200)

    assert store.is_away
    assert sum(took[:FAILURES_IN_A_ROW]) <= FAILURES_IN_A_ROW * ANSWER_WITHIN_S + SLACK_S
    assert sorted(took[FAILURES_IN_A_ROW:])[190] < 0.001  # but for moments in which the machine did something else


@pytest.mark.parametrize("fault", ["stop", "freeze"])
def test_a_redis_that_came_back_is_asked_again_after_five_seconds(
    store: Store, redis_server: RedisServer, clock: Clock, fault: str
) -> None:
    getattr(redis_server, fault)()
    times_of(store, FAILURES_IN_A_ROW)
    getattr(redis_server, {"stop": "start", "freeze": "thaw"}[fault])()

    assert store.run(ping, otherwise=False) is False  # it is still left alone
    clock.forward(LEFT_ALONE_S)

    assert store.run(ping, otherwise=False) is True
    assert not store.is_away


def test_one_that_stays_away_costs_one_short_wait_in_five_seconds(
    store: Store, redis_server: RedisServer, clock: Clock
) -> None:
    redis_server.freeze()
    times_of(store, FAILURES_IN_A_ROW)
    clock.forward(LEFT_ALONE_S)

    took = times_of(store, 2)

    assert took[0] >= ANSWER_WITHIN_S * 0.9
    assert took[1] < ANSWER_WITHIN_S * 0.5


def test_fifty_calls_at_once_wait_no_longer_than_one(store: Store, redis_server: RedisServer) -> None:
    redis_server.freeze()

    with ThreadPoolExecutor(50) as callers:
        begun = time.monotonic()
        list(callers.map(lambda _: store.run(ping, otherwise=False), range(50)))
        took_s = time.monotonic() - begun

    assert took_s < 3 * ANSWER_WITHIN_S + 2 * SLACK_S
    assert store.is_away


def test_a_closed_store_may_be_asked_again(store: Store) -> None:
    store.run(ping, otherwise=False)
    store.close()
    store.close()

    assert store.run(ping, otherwise=False) is True


# ---- the circuits of two processes


@pytest.fixture
def two(redis_server: RedisServer, settings: Settings, clock: Clock) -> Iterator[list[Circuit]]:
    """The circuit of one upstream as two processes see it."""
    settings.REDIS_URL = redis_server.url
    stores = [Store(), Store()]
    yield [Circuit("upstream", SharedCircuits(store), clock=clock) for store in stores]
    for store in stores:
        store.close()


def fail(circuit: Circuit) -> None:
    for _ in range(5):
        circuit.failed("overloaded_error")


def test_what_one_process_opened_the_other_skips_within_a_second(two: list[Circuit], clock: Clock) -> None:
    one, other = two
    assert other.lets_through()

    fail(one)
    clock.forward(1)

    assert other.opened == one.opened
    assert not other.lets_through()


def test_two_processes_probe_in_turns(
    two: list[Circuit], clock: Clock, redis_server: RedisServer, store: Store
) -> None:
    one, other = two
    fail(one)
    for _ in range(3):
        clock.forward(PROBE_EVERY_S)
        store.run(lambda redis: redis.delete(TURN.format("upstream")), otherwise=0)  # the ten seconds of Redis pass too

        assert sorted([one.lets_through(), other.lets_through()]) == [False, True]


def test_a_turn_to_probe_comes_back_after_ten_seconds(two: list[Circuit], store: Store) -> None:
    fail(two[0])

    left_ms = store.run(lambda redis: redis.pttl(TURN.format("upstream")), otherwise=0)

    assert PROBE_EVERY_S * 1000 - 1000 < left_ms <= PROBE_EVERY_S * 1000


def test_what_one_process_saw_answer_is_closed_for_both(two: list[Circuit], clock: Clock) -> None:
    one, other = two
    fail(one)
    clock.forward(1)
    assert not other.lets_through()

    one.answers()
    clock.forward(1)

    assert other.opened is None
    assert other.lets_through()


def test_an_entry_that_nobody_renews_goes_by_itself(two: list[Circuit], store: Store) -> None:
    fail(two[0])

    assert 0 < store.run(lambda redis: redis.ttl(OPEN.format("upstream")), otherwise=0) <= 120


def test_while_redis_is_away_each_process_goes_by_what_it_knows(
    two: list[Circuit], clock: Clock, redis_server: RedisServer
) -> None:
    one, other = two
    fail(one)
    redis_server.stop()
    clock.forward(1)

    assert one.opened is not None
    assert not one.lets_through()
    assert other.opened is None
    clock.forward(PROBE_EVERY_S)
    assert one.lets_through()
    one.answers()
    assert one.opened is None


def test_what_is_shared_reads_back_as_it_was_said(store: Store) -> None:
    shared, opened = SharedCircuits(store), Opened(since=1_764_000_000.5, reason="timeout_error")

    shared.note_opened("upstream", opened)

    assert shared.opened("upstream", otherwise=None) == opened
    shared.note_closed("upstream")
    assert shared.opened("upstream", otherwise=opened) is None


# ---- two gateways


def test_what_one_gateway_found_broken_the_other_does_not_ask(
    transactional_db: None, static_files: None, upstream: ScriptedUpstream, owner: User, redis_server: RedisServer
) -> None:
    with (
        ScriptedUpstream() as second,
        GatewayServer(REDIS_URL=redis_server.url) as one_server,
        GatewayServer(REDIS_URL=redis_server.url) as other_server,
    ):
        one = Gateway(one_server, upstream, owner)
        row = one.add_upstream("second", second.url, "openai")
        RouteTarget.objects.create(route=Route.objects.get(), upstream=row, priority=1)
        other = copy.copy(one)
        other.port = other_server.port
        assert other.post(PATH, BODY).status == 200
        upstream.answers(failure(503), times=None)
        for _ in range(2):
            assert one.post(PATH, BODY).status == 200

        time.sleep(LOOK_EVERY_S)  # so old may the other's view be
        asked = len(upstream.calls)
        answers = [other.post(PATH, BODY) for _ in range(5)]

        assert asked == 1 + 5
        assert {answer.headers["x-gateway-target"] for answer in answers} == {"second/m"}
        assert len(upstream.calls) == asked


def test_a_gateway_whose_redis_is_frozen_answers_all_the_same(
    transactional_db: None, static_files: None, upstream: ScriptedUpstream, owner: User, redis_server: RedisServer
) -> None:
    with GatewayServer(REDIS_URL=redis_server.url) as server:
        gateway = Gateway(server, upstream, owner)
        assert gateway.post(PATH, BODY).status == 200

        redis_server.freeze()
        took: list[float] = []
        while "Redis does not answer" not in server.log_path.read_text():
            begun = time.monotonic()
            assert gateway.post(PATH, BODY).status == 200
            took.append(time.monotonic() - begun)

        assert max(took) < 1.0
        assert len(took) > 3
    gateway.settled(len(took) + 1)
