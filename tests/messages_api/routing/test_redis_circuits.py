"""Circuits and probes that processes share over a real Redis, without delay for requests."""

import copy
import time
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

from keys.models import APIKey
from lib.shared_store import SharedStore
from messages_api.models import Route, RouteTarget
from messages_api.routing.circuit_breaker import PROBE_INTERVAL_S, STATE_TTL_S, CircuitBreaker, OpenState
from messages_api.routing.redis_circuits import OPEN_KEY, PROBE_KEY, RedisState
from tests.support.clock import Clock
from tests.support.gateway import Gateway, GatewayServer
from tests.support.redis_server import RedisServer
from tests.upstream import ScriptedUpstream, failure

PATH = "/api/v1/messages"
BODY = {"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}]}
SLACK_S = 0.1  # for a busy machine; less than a second failure after the third would add


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(redis_server: RedisServer, settings: Settings) -> Iterator[SharedStore]:
    settings.REDIS_TIMEOUT_S = 0.05  # the default: these tests measure the cost of an outage
    store = SharedStore()
    yield store
    store.close()


@pytest.fixture
def two(redis_server: RedisServer, settings: Settings, clock: Clock) -> Iterator[list[CircuitBreaker]]:
    """The circuit of one upstream in two processes."""
    settings.REDIS_TIMEOUT_S = 0.05  # the default: these tests measure the cost of an outage
    stores = [SharedStore(), SharedStore()]
    yield [CircuitBreaker("upstream", RedisState(store), clock=clock) for store in stores]
    for store in stores:
        store.close()


def fail(circuit: CircuitBreaker) -> None:
    for key_id in (1, 2, 1, 2, 1):
        circuit.record_failure("overloaded_error", key_id=key_id)


def allows(circuit: CircuitBreaker) -> bool:
    return circuit.permit(1) is not None


def test_an_open_circuit_is_shared_within_a_second(two: list[CircuitBreaker], clock: Clock) -> None:
    one, other = two
    assert allows(other)

    fail(one)
    clock.forward(1)

    assert other.open_state == one.open_state
    assert not allows(other)


def test_one_of_two_processes_sends_the_probe(
    two: list[CircuitBreaker], clock: Clock, redis_server: RedisServer, store: SharedStore
) -> None:
    one, other = two
    fail(one)
    for _ in range(3):
        clock.forward(PROBE_INTERVAL_S)
        store.execute("DEL", PROBE_KEY.format("upstream"), default=0)  # the ten seconds of Redis pass too

        assert sorted([allows(one), allows(other)]) == [False, True]


def test_a_probe_without_a_result_is_left_to_the_other_process(
    two: list[CircuitBreaker], clock: Clock, store: SharedStore
) -> None:
    one, other = two
    fail(one)
    clock.forward(PROBE_INTERVAL_S)
    store.execute("DEL", PROBE_KEY.format("upstream"), default=0)
    probe = one.permit(1)
    assert probe is not None and not allows(other)

    probe.end(was_abandoned=False)
    clock.forward(STATE_TTL_S)  # how often a process asks whether the probe is due

    assert allows(other)


def test_the_next_probe_is_due_after_ten_seconds(two: list[CircuitBreaker], store: SharedStore) -> None:
    fail(two[0])

    left_ms = store.execute("PTTL", PROBE_KEY.format("upstream"), default=0)

    assert PROBE_INTERVAL_S * 1000 - 1000 < left_ms <= PROBE_INTERVAL_S * 1000


def test_a_closed_circuit_is_shared_within_a_second(two: list[CircuitBreaker], clock: Clock) -> None:
    one, other = two
    fail(one)
    clock.forward(1)
    assert not allows(other)

    one.on_first_event(1)
    clock.forward(1)

    assert other.open_state is None
    assert allows(other)


def test_an_entry_expires_unless_it_is_renewed(two: list[CircuitBreaker], store: SharedStore) -> None:
    fail(two[0])

    assert 0 < store.execute("TTL", OPEN_KEY.format("upstream"), default=0) <= 120


def test_while_redis_is_unavailable_each_process_uses_its_own_state(
    two: list[CircuitBreaker], clock: Clock, redis_server: RedisServer
) -> None:
    one, other = two
    fail(one)
    redis_server.stop()
    clock.forward(1)

    assert one.open_state is not None
    assert not allows(one)
    assert other.open_state is None
    clock.forward(PROBE_INTERVAL_S)
    assert allows(one)
    one.on_first_event(1)
    assert one.open_state is None


def test_shared_state_is_read_back_unchanged(store: SharedStore) -> None:
    shared, opened = RedisState(store), OpenState(since=1_764_000_000.5, reason="timeout_error")

    shared.set_open("upstream", opened)

    assert shared.get_open("upstream", default=None) == opened
    shared.set_closed("upstream")
    assert shared.get_open("upstream", default=opened) is None


UNREADABLE = {
    "no JSON": "garbage",
    "no object": "[]",
    "null": "null",
    "no fields": "{}",
    "text as time": '{"since": "never", "reason": "api_error"}',
    "infinite": '{"since": Infinity, "reason": "api_error"}',
    "not a number": '{"since": NaN, "reason": "api_error"}',
    "huge": '{"since": 1' + "0" * 400 + ', "reason": "api_error"}',
    "future": '{"since": 99999999999, "reason": "api_error"}',
    "reason is a list": '{"since": 1764000000, "reason": ["api_error"]}',
    "long reason": '{"since": 1764000000, "reason": "' + "x" * 10_000 + '"}',
    "deep": "[" * 100_000,
    "digits": "9" * 5_000,
}


@pytest.mark.parametrize("entry", UNREADABLE.values(), ids=UNREADABLE)
def test_an_unreadable_entry_counts_as_no_shared_state(store: SharedStore, entry: str) -> None:
    shared, opened = RedisState(store), OpenState(since=1_764_000_000.5, reason="timeout_error")
    store.execute("SET", OPEN_KEY.format("upstream"), entry, default=None)

    assert shared.get_open("upstream", default=None) is None
    assert shared.get_open("upstream", default=opened) == opened


def test_a_key_of_another_type_counts_as_no_shared_state(store: SharedStore) -> None:
    shared, opened = RedisState(store), OpenState(since=1_764_000_000.5, reason="timeout_error")
    for name in (OPEN_KEY, PROBE_KEY):
        store.execute("RPUSH", name.format("upstream"), "a", default=None)

    assert shared.get_open("upstream", default=opened) == opened
    assert not shared.acquire_probe("upstream")
    assert shared.acquire_probe("upstream")  # the foreign key is gone
    assert not store.is_unavailable
    shared.set_open("upstream", opened)
    assert shared.get_open("upstream", default=None) == opened


def test_the_state_is_read_with_the_limits_of_a_request(store: SharedStore) -> None:
    shared, opened = RedisState(store), OpenState(since=1_764_000_000.5, reason="timeout_error")
    assert shared.get_open("upstream", default=None) is None
    shared.set_open("upstream", opened)

    shared.prefetch()
    store.execute("DEL", OPEN_KEY.format("upstream"), default=None)

    assert shared.get_open("upstream", default=None) == opened  # of the reply that was on its way
    assert shared.get_open("upstream", default=None) is None


# ---- two gateways


def test_an_upstream_that_fails_at_one_gateway_is_skipped_by_the_other(
    transactional_db: None, static_files: None, upstream: ScriptedUpstream, owner: User, redis_server: RedisServer
) -> None:
    with (
        ScriptedUpstream() as second,
        GatewayServer(REDIS_URL=redis_server.url, REDIS_TIMEOUT_S="0.5") as one_server,
        GatewayServer(REDIS_URL=redis_server.url, REDIS_TIMEOUT_S="0.5") as other_server,
    ):
        one = Gateway(one_server, upstream, owner)
        row = one.add_upstream("second", second.url, "openai")
        RouteTarget.objects.create(route=Route.objects.get(), upstream=row, priority=1)
        other = copy.copy(one)
        other.port = other_server.port
        assert other.post(PATH, BODY).status == 200
        upstream.queue(failure(503), times=None)
        _, raw_key = APIKey.objects.issue(name="another", owner=owner)
        assert one.post(PATH, BODY).status == 200
        assert one.post(PATH, BODY, headers={"Authorization": f"Bearer {raw_key}"}).status == 200

        time.sleep(STATE_TTL_S)  # maximum age of the other process's state
        received = len(upstream.requests)
        responses = [other.post(PATH, BODY) for _ in range(5)]

        assert received == 1 + 5
        assert {response.headers["x-gateway-target"] for response in responses} == {"second/m"}
        assert len(upstream.requests) == received


def test_a_gateway_responds_while_redis_is_frozen(
    transactional_db: None, static_files: None, upstream: ScriptedUpstream, owner: User, redis_server: RedisServer
) -> None:
    with GatewayServer(REDIS_URL=redis_server.url) as server:
        gateway = Gateway(server, upstream, owner)
        assert gateway.post(PATH, BODY).status == 200

        redis_server.freeze()
        durations: list[float] = []
        while "Redis is unavailable" not in server.log_path.read_text():
            started_at = time.monotonic()
            assert gateway.post(PATH, BODY).status == 200
            durations.append(time.monotonic() - started_at)

        assert max(durations) < 1.0
        assert len(durations) > 3
    gateway.settled(len(durations) + 1)
