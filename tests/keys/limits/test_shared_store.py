"""The way to Redis: an outage costs three short waits, then nothing, and is noticed to be over by itself."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pytest_django import Settings
from redis.exceptions import NoScriptError

from lib.shared_store import FAILURES_IN_A_ROW, Store
from tests.keys.limits.conftest import WAIT_S
from tests.support import ROOT
from tests.support.gateway import wait_until
from tests.support.redis_server import RedisServer

SLACK_S = 0.1  # of a busy machine
BURST = """
from gevent import monkey
monkey.patch_all()
import django
django.setup()
import time
import gevent
from lib.shared_store import Store

def call():
    answers = set()
    for _ in range(5):
        begun = time.process_time()
        while time.process_time() < begun + 0.001:
            pass
        answers.add(store.ask("PING", otherwise="away"))
    return answers

store = Store()
calls = [gevent.spawn(call) for _ in range(200)]
print(set().union(*(each.get() for each in calls)), store.is_away)
store.close()
"""


@pytest.fixture
def store(redis_server: RedisServer, settings: Settings) -> Iterator[Store]:
    """As it is shipped: what an outage costs is measured here."""
    settings.REDIS_TIMEOUT_S = 0.05
    store = Store()
    yield store
    store.close()


def ping(store: Store) -> bool:
    return bool(store.run(lambda client: client.ping(), otherwise=False))


def times_of(count: int, ask: Callable[[], Any]) -> list[float]:
    """How long each of so many questions took."""
    took_s = []
    for _ in range(count):
        begun = time.monotonic()
        ask()
        took_s.append(time.monotonic() - begun)
    return took_s


def break_down(server: RedisServer, how: str) -> None:
    server.freeze() if how == "frozen" else server.stop()


def mend(server: RedisServer, how: str) -> None:
    server.thaw() if how == "frozen" else server.start()


both_faults = pytest.mark.parametrize("how", ["stopped", "frozen"])


def test_functions_and_commands_get_their_answers(store: Store) -> None:
    assert store.is_configured
    assert ping(store)
    assert store.ask("SET", "name", "value", otherwise="away") == "OK"
    assert store.ask("GET", "name", otherwise="away") == "value"
    assert store.ask("GET", "nothing", otherwise="away") is None


def test_each_of_many_at_once_gets_its_own_answer(store: Store, settings: Settings) -> None:
    settings.REDIS_TIMEOUT_S = WAIT_S
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda number: store.ask("ECHO", f"{number}", otherwise="away"), range(1_000)))

    assert answers == [str(number) for number in range(1_000)]


def test_without_an_address_nobody_is_asked(settings: Settings) -> None:
    settings.REDIS_URL = ""
    store = Store()

    assert not store.is_configured
    assert store.ask("PING", otherwise="away") == "away"


@both_faults
@pytest.mark.parametrize("is_connected", [True, False], ids=["connected", "not yet connected"])
def test_an_outage_costs_three_short_waits_and_then_nothing(
    store: Store, redis_server: RedisServer, how: str, is_connected: bool, settings: Settings
) -> None:
    if is_connected:
        assert ping(store)

    break_down(redis_server, how)
    try:
        took_s = times_of(FAILURES_IN_A_ROW + 200, lambda: store.ask("PING", otherwise="away"))
    finally:
        mend(redis_server, how)

    assert store.is_away
    assert sum(took_s[:FAILURES_IN_A_ROW]) <= FAILURES_IN_A_ROW * settings.REDIS_TIMEOUT_S + SLACK_S
    assert sorted(took_s[FAILURES_IN_A_ROW:])[190] < 0.001


@both_faults
def test_it_is_over_within_five_seconds_and_nobody_waits_to_find_out(
    store: Store, redis_server: RedisServer, how: str, settings: Settings
) -> None:
    break_down(redis_server, how)
    times_of(FAILURES_IN_A_ROW, lambda: ping(store))
    took_s = []
    for _ in range(250):
        time.sleep(0.01)
        took_s += times_of(1, lambda: ping(store))
    assert store.is_away
    assert sum(each > settings.REDIS_TIMEOUT_S / 2 for each in took_s) <= 2

    mend(redis_server, how)
    wait_until(lambda: not store.is_away, within_s=5)

    assert ping(store)


def test_fifty_at_once_wait_no_longer_than_one(store: Store, redis_server: RedisServer, settings: Settings) -> None:
    redis_server.freeze()
    try:
        with ThreadPoolExecutor(50) as pool:
            (took_s,) = times_of(1, lambda: list(pool.map(lambda _: ping(store), range(50))))
    finally:
        redis_server.thaw()

    assert took_s < 50 * settings.REDIS_TIMEOUT_S / 2  # one after the other they would take twice that
    assert store.is_away


def test_a_burst_of_calls_in_a_busy_worker_is_no_outage(redis_server: RedisServer) -> None:
    finished = subprocess.run(
        [sys.executable, "-c", BURST],
        cwd=ROOT,
        env={
            **os.environ,
            "REDIS_URL": redis_server.url,
            "REDIS_TIMEOUT_S": "0.5",
            "DJANGO_SETTINGS_MODULE": "project.settings",
        },
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert finished.stdout == "{'PONG'} False\n", finished.stderr


def test_what_the_server_refuses_is_no_answer_and_not_knowing_a_script_is_told(store: Store) -> None:
    store.ask("SET", "name", "value", otherwise="away")

    assert store.ask("HGET", "name", "field", otherwise="away") == "away"
    for _ in range(2 * FAILURES_IN_A_ROW):
        with pytest.raises(NoScriptError):
            store.ask("EVALSHA", "0" * 40, 0, otherwise="away")
    assert not store.is_away


def test_a_mistake_in_a_function_is_its_owners_and_stops_nothing(store: Store) -> None:
    def fail(client: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.run(fail, otherwise=None)

    assert ping(store)


def test_a_closed_store_may_be_asked_again(store: Store) -> None:
    assert ping(store)
    store.close()
    store.close()

    assert ping(store)
