"""The Redis client: an outage costs three short waits, then none, and recovery is detected in the background."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from pytest_django import Settings
from redis.exceptions import NoScriptError

from lib.shared_store import MAX_CONSECUTIVE_FAILURES, PROBE_INTERVAL_S, SharedStore
from tests.support import ROOT
from tests.support.gateway import wait_until
from tests.support.real_servers import PATIENT_TIMEOUT_S
from tests.support.redis_server import RedisServer
from tests.support.slow_link import SlowLink

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
    return store.execute("PING", default=None) == "PONG"


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


def test_commands_return_their_replies(store: SharedStore) -> None:
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
            (took_s,) = times_of(1, lambda: list(pool.map(lambda _: ping(store), range(150))))
    finally:
        redis_server.thaw()

    assert took_s < 50 * settings.REDIS_TIMEOUT_S / 2  # in sequence the first of each would take twice as long
    assert store.is_unavailable


def test_a_slow_server_costs_each_command_one_round_trip(
    store: SharedStore, redis_server: RedisServer, settings: Settings
) -> None:
    """A command does not wait for the replies of the commands before it."""
    settings.REDIS_TIMEOUT_S = 5.0
    with SlowLink(redis_server.port, latency_s=0.2) as link, ThreadPoolExecutor(8) as pool:
        settings.REDIS_URL = link.redis_url
        assert ping(store)
        asking = []
        for _ in range(8):
            asking.append(pool.submit(times_of, 1, lambda: ping(store)))
            time.sleep(0.05)  # a quarter of the latency later
        took_s = [each.result()[0] for each in asking]
        store.close()

    assert all(0.2 <= each < 0.2 + SLACK_S for each in took_s), took_s


def test_a_server_that_closes_idle_connections_is_no_outage(
    store: SharedStore, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2 * MAX_CONSECUTIVE_FAILURES):
        assert ping(store)
        redis_server.execute("CLIENT", "KILL", "TYPE", "normal")
        wait_until(lambda: not store._pipeline._connection.is_connected)

    assert ping(store) and caplog.messages == []


def test_a_server_that_rejects_writes_is_one_outage(
    store: SharedStore, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """It responds to PING, and to commands that read."""
    write = partial(store.execute, "SET", "name", "value", default="unavailable")
    redis_server.reject_writes()
    until = time.monotonic() + 3 * PROBE_INTERVAL_S
    while time.monotonic() < until:
        assert write() == "unavailable"
        time.sleep(0.01)
    messages = [record.message for record in caplog.records]
    redis_server.accept_writes()
    wait_until(lambda: write() == "OK")

    assert store.is_unavailable is False
    assert messages == ["Redis is unavailable (ResponseError): each worker uses its own state"]
    assert caplog.messages[1:] == ["Redis is available again"]


def test_a_server_that_accepts_the_probe_alone_is_one_outage(
    store: SharedStore, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    redis_server.execute("ACL", "SETUSER", "default", "-incr")
    until = time.monotonic() + 3 * PROBE_INTERVAL_S
    try:
        while time.monotonic() < until:
            assert store.execute("INCR", "name", default="unavailable") == "unavailable"
            time.sleep(0.01)
    finally:
        redis_server.execute("ACL", "SETUSER", "default", "+incr")
    messages = caplog.messages.copy()
    wait_until(lambda: store.execute("INCR", "name", default="unavailable") != "unavailable")

    assert messages == ["Redis is unavailable (NoPermissionError): each worker uses its own state"]
    assert caplog.messages[1:] == ["Redis is available again"]


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


def test_a_closed_store_may_be_used_again(store: SharedStore) -> None:
    assert ping(store)
    store.close()
    store.close()

    assert ping(store)
