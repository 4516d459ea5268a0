"""The Redis client: an outage costs three short waits, then none, and recovery is detected in the background."""

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

from lib.shared_store import MAX_CONSECUTIVE_FAILURES, SharedStore
from tests.support import ROOT
from tests.support.gateway import wait_until
from tests.support.real_servers import PATIENT_TIMEOUT_S
from tests.support.redis_server import RedisServer

SLACK_S = 0.1  # of a busy machine
BURST = """
from gevent import monkey
monkey.patch_all()
import django
django.setup()
import time
import gevent
from lib.shared_store import SharedStore

def request():
    answers = set()
    for _ in range(5):
        started = time.process_time()
        while time.process_time() < started + 0.001:
            pass
        answers.add(store.execute("PING", default="unavailable"))
    return answers

store = SharedStore()
greenlets = [gevent.spawn(request) for _ in range(200)]
print(set().union(*(each.get() for each in greenlets)), store.is_unavailable)
store.close()
"""


@pytest.fixture
def store(redis_server: RedisServer, settings: Settings) -> Iterator[SharedStore]:
    """The store with the default timeout: these tests measure the cost of an outage."""
    settings.REDIS_TIMEOUT_S = 0.05
    store = SharedStore()
    yield store
    store.close()


def ping(store: SharedStore) -> bool:
    return bool(store.run(lambda client: client.ping(), default=False))


def times_of(count: int, ask: Callable[[], Any]) -> list[float]:
    """Return how long each of so many commands took."""
    took_s = []
    for _ in range(count):
        started = time.monotonic()
        ask()
        took_s.append(time.monotonic() - started)
    return took_s


def stop(server: RedisServer, how: str) -> None:
    server.freeze() if how == "frozen" else server.stop()


def recover(server: RedisServer, how: str) -> None:
    server.thaw() if how == "frozen" else server.start()


both_faults = pytest.mark.parametrize("how", ["stopped", "frozen"])


def test_functions_and_commands_return_their_replies(store: SharedStore) -> None:
    assert store.is_configured
    assert ping(store)
    assert store.execute("SET", "name", "value", default="unavailable") == "OK"
    assert store.execute("GET", "name", default="unavailable") == "value"
    assert store.execute("GET", "nothing", default="unavailable") is None


def test_each_of_many_concurrent_commands_gets_its_own_reply(store: SharedStore, settings: Settings) -> None:
    settings.REDIS_TIMEOUT_S = PATIENT_TIMEOUT_S
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda number: store.execute("ECHO", f"{number}", default="unavailable"), range(1_000)))

    assert answers == [str(number) for number in range(1_000)]


def test_without_a_url_there_is_no_connection(settings: Settings) -> None:
    settings.REDIS_URL = ""
    store = SharedStore()

    assert not store.is_configured
    assert store.execute("PING", default="unavailable") == "unavailable"


@both_faults
@pytest.mark.parametrize("is_connected", [True, False], ids=["connected", "not yet connected"])
def test_an_outage_costs_three_short_waits_and_then_none(
    store: SharedStore, redis_server: RedisServer, how: str, is_connected: bool, settings: Settings
) -> None:
    if is_connected:
        assert ping(store)

    stop(redis_server, how)
    try:
        took_s = times_of(MAX_CONSECUTIVE_FAILURES + 200, lambda: store.execute("PING", default="unavailable"))
    finally:
        recover(redis_server, how)

    assert store.is_unavailable
    assert sum(took_s[:MAX_CONSECUTIVE_FAILURES]) <= MAX_CONSECUTIVE_FAILURES * settings.REDIS_TIMEOUT_S + SLACK_S
    assert sorted(took_s[MAX_CONSECUTIVE_FAILURES:])[190] < 0.001


@both_faults
def test_recovery_is_detected_within_five_seconds_in_the_background(
    store: SharedStore, redis_server: RedisServer, how: str, settings: Settings
) -> None:
    stop(redis_server, how)
    times_of(MAX_CONSECUTIVE_FAILURES, lambda: ping(store))
    took_s = []
    for _ in range(250):
        time.sleep(0.01)
        took_s += times_of(1, lambda: ping(store))
    assert store.is_unavailable
    assert sum(each > settings.REDIS_TIMEOUT_S / 2 for each in took_s) <= 2

    recover(redis_server, how)
    wait_until(lambda: not store.is_unavailable, within_s=5)

    assert ping(store)


def test_fifty_concurrent_commands_wait_no_longer_than_one(
    store: SharedStore, redis_server: RedisServer, settings: Settings
) -> None:
    redis_server.freeze()
    try:
        with ThreadPoolExecutor(50) as pool:
            (took_s,) = times_of(1, lambda: list(pool.map(lambda _: ping(store), range(50))))
    finally:
        redis_server.thaw()

    assert took_s < 50 * settings.REDIS_TIMEOUT_S / 2  # in sequence they would take twice as long
    assert store.is_unavailable


def test_a_burst_in_a_busy_worker_is_no_outage(redis_server: RedisServer) -> None:
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


def test_an_error_reply_is_no_outage_and_an_unknown_script_raises(store: SharedStore) -> None:
    store.execute("SET", "name", "value", default="unavailable")

    assert store.execute("HGET", "name", "field", default="unavailable") == "unavailable"
    for _ in range(2 * MAX_CONSECUTIVE_FAILURES):
        with pytest.raises(NoScriptError):
            store.execute("EVALSHA", "0" * 40, 0, default="unavailable")
    assert not store.is_unavailable


def test_an_error_in_a_function_is_raised_and_stops_nothing(store: SharedStore) -> None:
    def fail(client: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.run(fail, default=None)

    assert ping(store)


def test_a_closed_store_may_be_used_again(store: SharedStore) -> None:
    assert ping(store)
    store.close()
    store.close()

    assert ping(store)
