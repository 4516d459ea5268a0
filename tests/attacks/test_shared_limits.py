"""Shared limits while they change, and while Redis is empty, absent, slow, read-only or full of foreign entries."""

import socket
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User

from keys.models import APIKey, UsageRecord
from messages_api.routing.redis_circuits import OPEN_KEY
from tests.support.gateway import Gateway, GatewayServer, read_until, targets_of, wait_until
from tests.support.redis_server import RedisServer
from tests.support.slow_link import SlowLink
from tests.upstream import Chunk, Head, ScriptedUpstream, WaitForPeer, frames_of
from tests.upstream.steps import Step

PATH = "/api/v1/messages"
PLAIN: dict[str, Any] = {"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}]}
STREAMED = PLAIN | {"stream": True}
CACHE_TTL_S = 0.2
Gateways = list[Gateway]


@pytest.fixture
def gateways(
    transactional_db: None, static_files: None, upstream: ScriptedUpstream, owner: User, redis_server: RedisServer
) -> Iterator[Gateways]:
    """Two gateways with one database and one Redis."""
    settings = {"REDIS_URL": redis_server.url, "REDIS_TIMEOUT_S": "0.2", "CONFIG_CACHE_TTL_S": f"{CACHE_TTL_S:g}"}
    settings["WEB_CONCURRENCY"] = "1"
    with GatewayServer(**settings) as one, GatewayServer(**settings) as other:
        first = Gateway(one, upstream, owner)
        yield [first, first.at(other)]


def limit(gateway: Gateway, **limits: int | None) -> None:
    """Change the limits of the key, and wait until each process has noticed."""
    for name, value in limits.items():
        setattr(gateway.key, name, value)
    gateway.key.save()
    time.sleep(2 * CACHE_TTL_S)


def unending(request: Any) -> list[Step]:
    return [Head(headers={"content-type": "text/event-stream"}), *map(Chunk, frames_of(request)[:3]), WaitForPeer()]


def hold_open(gateway: Gateway, body: dict[str, Any]) -> socket.socket:
    """Open a stream that does not end before its connection is closed."""
    gateway.upstream.queue(unending)
    connection = gateway.open(PATH, body)
    read_until(connection, b"Hello")
    return connection


@pytest.mark.parametrize("how", ["emptied", "stopped", "frozen", "restarted"])
@pytest.mark.parametrize("holders", [1, 2], ids=["of one gateway", "of both"])
def test_slots_in_use_stay_taken_without_the_data_of_redis(
    gateways: Gateways, redis_server: RedisServer, how: str, holders: int
) -> None:
    limit(gateways[0], concurrent_requests=5)
    held = [hold_open(gateways[number % holders], STREAMED) for number in range(5)]
    time.sleep(2)  # each gateway reports to Redis once per second
    actions = {"emptied": redis_server.empty, "stopped": redis_server.stop, "frozen": redis_server.freeze}
    actions.get(how, redis_server.stop)()
    if how == "restarted":
        redis_server.start()

    statuses = Counter(gateways[number % 2].post(PATH, PLAIN).status for number in range(20))
    redis_server.restore()
    for connection in held:
        connection.close()

    assert statuses == {429: 20}
    gateways[0].settled(25)
    wait_until(lambda: all(gateway.post(PATH, PLAIN).status == 200 for gateway in gateways))
    gateways[0].settled(27)


def test_older_requests_do_not_refill_a_lowered_limit(gateways: Gateways) -> None:
    """Twenty streams begin under a limit of 100,000 tokens and end under one of 200."""
    limit(gateways[0], tokens_per_minute=100_000)
    held = [hold_open(gateways[number % 2], STREAMED | {"max_tokens": 4_000}) for number in range(20)]
    limit(gateways[0], tokens_per_minute=200)

    admitted = 0
    started = time.monotonic()
    for number, connection in enumerate(held):
        connection.close()
        wait_until(lambda: UsageRecord.objects.filter(status="started").count() == len(held) - 1 - number)  # noqa: B023
        admitted += gateways[number % 2].post(PATH, PLAIN | {"max_tokens": 180}).status == 200
    refilled = 200 / 60 * (time.monotonic() - started)

    assert 1 <= admitted <= 2 + (20 + refilled) // 21  # a response uses 21 tokens, and 180 must remain
    gateways[0].settled(40)


def test_a_limit_of_zero_is_no_error(gateways: Gateways, redis_server: RedisServer) -> None:
    """No form can set it, but SQL can."""
    for name in ("requests_per_minute", "tokens_per_minute", "concurrent_requests"):
        APIKey.objects.update(requests_per_minute=None, tokens_per_minute=None, concurrent_requests=None)
        APIKey.objects.update(**{name: 0})
        time.sleep(2 * CACHE_TTL_S)

        assert gateways[0].post(PATH, PLAIN).status == 429, name

    assert redis_server.keys_without_expiry() == []
    gateways[0].settled(3)


@pytest.mark.parametrize("entry", ["garbage", "{}", '{"since":"never","reason":[]}', "[" * 5_000])
def test_foreign_entries_in_redis_fail_no_request(gateways: Gateways, redis_server: RedisServer, entry: str) -> None:
    limit(gateways[0], requests_per_minute=600, tokens_per_minute=60_000, concurrent_requests=5)
    key = f"messages-gateway:limit:key:{gateways[0].key.pk}"
    [target] = targets_of("m")
    names = [OPEN_KEY.format(target.endpoint.identity), f"{key}:requests_per_minute", f"{key}:concurrent_requests"]
    names += ["messages-gateway:workers", "messages-gateway:epoch", "messages-gateway:slots"]

    statuses = []
    for number in range(20):
        for name in names:
            redis_server.execute("SET", name, entry)
        statuses.append(gateways[number % 2].post(PATH, PLAIN).status)

    assert statuses == [200] * 20
    assert "unavailable" not in gateways[0].server.log_path.read_text()
    gateways[0].settled(20)


def test_a_slow_redis_costs_one_round_trip_before_and_one_after_a_request(
    transactional_db: None, static_files: None, upstream: ScriptedUpstream, owner: User, redis_server: RedisServer
) -> None:
    latency_s = 0.6  # a request takes longer than a second: each one finds that the state of circuits is too old
    with (
        SlowLink(redis_server.port, latency_s=0.0) as link,
        GatewayServer(REDIS_URL=link.redis_url, REDIS_TIMEOUT_S="2") as server,
    ):
        gateway = Gateway(server, upstream, owner)
        limit(gateway, requests_per_minute=600, concurrent_requests=50)
        for _ in range(3):
            gateway.post(PATH, PLAIN)
        quick_s = quickest(gateway)
        link.latency_s = latency_s
        slow_s = quickest(gateway)
        gateway.settled(15)

    assert 2 * latency_s <= slow_s < 2.5 * latency_s + quick_s


def quickest(gateway: Gateway) -> float:
    """Return how long the quickest of six requests took: a busy machine delays some."""
    took_s = []
    for _ in range(6):
        started = time.monotonic()
        assert gateway.post(PATH, PLAIN).status == 200
        took_s.append(time.monotonic() - started)
    return min(took_s)


def test_a_redis_that_rejects_writes_is_logged_once(gateways: Gateways, redis_server: RedisServer) -> None:
    gateway = gateways[0]
    limit(gateway, requests_per_minute=6_000)
    redis_server.reject_writes()
    until = time.monotonic() + 5
    count = 0
    while time.monotonic() < until:
        assert gateway.post(PATH, PLAIN).status == 200
        count += 1
    during = gateway.server.log_path.read_text()
    redis_server.accept_writes()
    wait_until(lambda: "Redis is available again" in gateway.server.log_path.read_text())

    assert during.count("Redis is unavailable") == 1 and "available again" not in during
    gateway.settled(count)


def test_a_killed_gateway_leaves_marks_for_two_minutes_at_most(gateways: Gateways, redis_server: RedisServer) -> None:
    limit(gateways[0], tokens_per_minute=100_000)
    connection = hold_open(gateways[0], STREAMED)

    assert 0 < redis_server.longest_expiry_s("messages-gateway:request:*") <= 120
    connection.close()
    gateways[0].settled(1)
