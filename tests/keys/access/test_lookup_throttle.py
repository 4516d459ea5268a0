"""Clients that guess keys are rejected before the database is queried. Other clients are not affected."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from keys.access.lookup_throttle import MAX_ATTEMPTS, MAX_CLIENTS, KeyLookupThrottle
from keys.access.snapshot_cache import cache
from keys.domain import raw_key
from keys.errors import RateLimitExceeded
from keys.models import APIKey
from tests.support.gateway import Gateway, GatewayServer
from tests.upstream import ScriptedUpstream

PATHS = ["/api/v1/messages", "/api/anthropic/v1/messages", "/api/anthropic/v1/models"]


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lookup_throttle(clock: Clock) -> KeyLookupThrottle:
    return KeyLookupThrottle(now=clock)


def guess(lookup_throttle: KeyLookupThrottle, count: int, client_ip: str | None = "192.0.2.1") -> int:
    """Try unknown keys. Return how many of them were looked up."""
    looked_up = 0
    for _ in range(count):
        try:
            with lookup_throttle.lookup(client_ip) as lookup:
                looked_up += 1
                lookup.is_unknown_key = True
        except RateLimitExceeded:
            continue
    return looked_up


def test_at_most_twenty_unknown_keys_are_looked_up_per_minute(lookup_throttle: KeyLookupThrottle, clock: Clock) -> None:
    looked_up: list[float] = []
    for _ in range(10_000):
        clock.now += 0.03
        looked_up += [clock.now] * guess(lookup_throttle, 1)

    assert max(sum(begin <= moment < begin + 60 for moment in looked_up) for begin in looked_up) == MAX_ATTEMPTS


def test_the_next_attempt_is_accepted_after_the_stated_wait(lookup_throttle: KeyLookupThrottle, clock: Clock) -> None:
    guess(lookup_throttle, 1)
    clock.now += 12.5
    guess(lookup_throttle, MAX_ATTEMPTS - 1)

    with pytest.raises(RateLimitExceeded) as caught, lookup_throttle.lookup("192.0.2.1"):
        pytest.fail("admitted")

    assert (caught.value.status, caught.value.headers) == (429, {"retry-after": "48"})
    clock.now += 48
    assert guess(lookup_throttle, 2) == 1


def test_valid_keys_and_failed_lookups_are_not_counted(lookup_throttle: KeyLookupThrottle) -> None:
    for _ in range(3 * MAX_ATTEMPTS):
        with lookup_throttle.lookup("192.0.2.1"):
            pass  # found
        with pytest.raises(ConnectionError), lookup_throttle.lookup("192.0.2.1"):
            raise ConnectionError

    assert guess(lookup_throttle, 3 * MAX_ATTEMPTS) == MAX_ATTEMPTS


@pytest.mark.parametrize(
    ("other", "shares_limit"),
    [
        ("192.0.2.2", False),
        ("2001:db8::1", False),
        ("2001:db8:0:1::9", True),
        ("2001:db8:0:2::9", False),
        (None, False),
    ],
)
def test_each_client_ip_has_its_own_limit_and_an_ipv6_network_shares_one(
    lookup_throttle: KeyLookupThrottle, other: str | None, shares_limit: bool
) -> None:
    guess(lookup_throttle, MAX_ATTEMPTS, "192.0.2.1")
    guess(lookup_throttle, MAX_ATTEMPTS, "2001:db8:0:1::1")

    assert guess(lookup_throttle, 1, other) == (0 if shares_limit else 1)


def test_concurrent_attempts_do_not_exceed_the_limit(lookup_throttle: KeyLookupThrottle) -> None:
    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(lambda _: guess(lookup_throttle, 25), range(16))) == MAX_ATTEMPTS


def test_concurrent_valid_keys_are_not_rejected(lookup_throttle: KeyLookupThrottle) -> None:
    def find(_: int) -> str:
        with lookup_throttle.lookup("192.0.2.1"):
            time.sleep(0.01)
            return "found"

    with ThreadPoolExecutor(64) as pool:
        assert list(pool.map(find, range(128))) == ["found"] * 128


def test_memory_is_bounded_for_many_client_ips(lookup_throttle: KeyLookupThrottle) -> None:
    for number in range(MAX_CLIENTS + 500):
        guess(lookup_throttle, 1, f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")

    assert len(lookup_throttle) == MAX_CLIENTS


# ---- over HTTP


@pytest.fixture
def issued(owner: User) -> str:
    return APIKey.objects.issue(name="app", owner=owner)[1]


def send(client: Client, path: str, raw: str, header: str = "Authorization", **extra: Any) -> Any:
    value = f"Bearer {raw}" if header == "Authorization" else raw
    method = client.get if path.endswith("models") else client.post
    return method(path, headers={header: value}, **extra)


@pytest.mark.django_db
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("header", ["Authorization", "x-api-key"])
def test_many_attempts_cost_twenty_queries(
    client: Client, path: str, header: str, django_assert_num_queries: Callable[[int], Any]
) -> None:
    with django_assert_num_queries(MAX_ATTEMPTS):
        responses = [send(client, path, raw_key.generate(), header) for _ in range(400)]

    statuses = [response.status_code for response in responses]
    assert (statuses.count(401), statuses.count(429)) == (
        MAX_ATTEMPTS,
        len(responses) - MAX_ATTEMPTS,
    )
    assert responses[-1].headers["retry-after"] in map(str, range(45, 61))
    body = responses[-1].json()
    error = body["error"] if "error" in body else body["data"]["error"]
    assert error["type"] == "rate_limit_error"
    assert error["message"] == (
        f"Too many invalid API keys from your IP address. Retry after {responses[-1].headers['retry-after']} s."
    )


@pytest.mark.django_db
def test_a_key_seen_before_is_not_throttled_even_after_its_snapshot_expired(client: Client, issued: str) -> None:
    assert send(client, PATHS[0], issued).status_code == 400
    for _ in range(MAX_ATTEMPTS + 5):
        send(client, PATHS[0], raw_key.generate())

    assert send(client, PATHS[0], raw_key.generate()).status_code == 429
    assert send(client, PATHS[0], issued).status_code == 400  # CONFIG_CACHE_TTL_S is 0 here: it was read again


@pytest.mark.django_db
def test_a_throttled_client_ip_does_not_affect_others_and_malformed_keys_are_still_401(
    client: Client, issued: str
) -> None:
    for _ in range(MAX_ATTEMPTS + 5):
        send(client, PATHS[0], raw_key.generate())

    assert send(client, PATHS[0], issued).status_code == 429
    assert send(client, PATHS[0], issued, REMOTE_ADDR="192.0.2.7").status_code == 400
    assert send(client, PATHS[0], "garbage").status_code == 401


@pytest.mark.django_db
def test_a_repeated_unknown_key_is_looked_up_once_per_cache_period(
    client: Client, django_assert_num_queries: Callable[[int], Any]
) -> None:
    raw = raw_key.generate()

    with django_assert_num_queries(1):
        statuses = [send(client, PATHS[0], raw).status_code for _ in range(50)]

    assert statuses == [401] * 50
    assert cache.find(raw) is None


@pytest.fixture(scope="module")
def proxied_server(django_db_setup: None, static_files: None) -> Iterator[GatewayServer]:
    with GatewayServer(TRUSTED_PROXIES="127.0.0.1") as server:
        yield server


def test_the_running_gateway_throttles_by_the_client_ip_that_its_proxy_forwards(
    transactional_db: None, proxied_server: GatewayServer, upstream: ScriptedUpstream, owner: User
) -> None:
    gateway = Gateway(proxied_server, upstream, owner)
    body = {"model": "m", "max_tokens": 8, "messages": [{"role": "user", "content": "Hi"}]}

    def status(raw: str, client_ip: str) -> int:
        headers = {"Authorization": f"Bearer {raw}", "X-Forwarded-For": client_ip}
        return gateway.post(PATHS[0], body, headers=headers).status

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: status(raw_key.generate(), "192.0.2.66"), range(200)))

    assert (statuses.count(401), statuses.count(429)) == (MAX_ATTEMPTS, 180)
    assert status(gateway.raw_key, "192.0.2.66") == 429
    assert status(gateway.raw_key, "192.0.2.7") == 200
    assert status(gateway.raw_key, "192.0.2.66") == 200
    gateway.settled(2)
