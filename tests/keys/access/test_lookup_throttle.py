"""Who tries out keys is refused before the database is asked, and nobody else is."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from keys.access.lookup_throttle import A_MINUTE, MAX_PLACES, KeyLookupThrottle
from keys.access.snapshots import cache
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


def guess(lookup_throttle: KeyLookupThrottle, count: int, address: str | None = "192.0.2.1") -> int:
    """How many of so many unknown keys were looked up."""
    looked_up = 0

    def find() -> None:
        nonlocal looked_up
        looked_up += 1

    for _ in range(count):
        try:
            lookup_throttle.look_up(address, find)
        except RateLimitExceeded:
            continue
    return looked_up


def test_of_many_guesses_twenty_are_looked_up_within_any_minute(
    lookup_throttle: KeyLookupThrottle, clock: Clock
) -> None:
    looked_up: list[float] = []
    for _ in range(10_000):
        clock.now += 0.03
        looked_up += [clock.now] * guess(lookup_throttle, 1)

    assert max(sum(begin <= moment < begin + 60 for moment in looked_up) for begin in looked_up) == A_MINUTE


def test_the_refusal_says_when_the_next_one_may_come_and_it_may(
    lookup_throttle: KeyLookupThrottle, clock: Clock
) -> None:
    guess(lookup_throttle, 1)
    clock.now += 12.5
    guess(lookup_throttle, A_MINUTE - 1)

    with pytest.raises(RateLimitExceeded) as caught:
        lookup_throttle.look_up("192.0.2.1", lambda: None)

    assert (caught.value.status, caught.value.headers) == (429, {"retry-after": "48"})
    clock.now += 48
    assert guess(lookup_throttle, 2) == 1


def test_a_key_that_is_found_and_a_database_that_is_away_are_no_guesses(lookup_throttle: KeyLookupThrottle) -> None:
    def fail() -> None:
        raise ConnectionError

    for _ in range(3 * A_MINUTE):
        assert lookup_throttle.look_up("192.0.2.1", lambda: "found") == "found"
        with pytest.raises(ConnectionError):
            lookup_throttle.look_up("192.0.2.1", fail)

    assert guess(lookup_throttle, 3 * A_MINUTE) == A_MINUTE


@pytest.mark.parametrize(
    ("other", "is_the_same"),
    [
        ("192.0.2.2", False),
        ("2001:db8::1", False),
        ("2001:db8:0:1::9", True),
        ("2001:db8:0:2::9", False),
        (None, False),
    ],
)
def test_each_address_has_its_own_and_a_network_of_ipv6_is_one(
    lookup_throttle: KeyLookupThrottle, other: str | None, is_the_same: bool
) -> None:
    guess(lookup_throttle, A_MINUTE, "192.0.2.1")
    guess(lookup_throttle, A_MINUTE, "2001:db8:0:1::1")

    assert guess(lookup_throttle, 1, other) == (0 if is_the_same else 1)


def test_many_at_once_do_not_slip_through(lookup_throttle: KeyLookupThrottle) -> None:
    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(lambda _: guess(lookup_throttle, 25), range(16))) == A_MINUTE


def test_many_good_keys_at_once_are_not_refused(lookup_throttle: KeyLookupThrottle) -> None:
    def find() -> str:
        time.sleep(0.01)
        return "found"

    with ThreadPoolExecutor(64) as pool:
        assert list(pool.map(lambda _: lookup_throttle.look_up("192.0.2.1", find), range(128))) == ["found"] * 128


def test_many_addresses_do_not_fill_the_memory(lookup_throttle: KeyLookupThrottle) -> None:
    for number in range(MAX_PLACES + 500):
        guess(lookup_throttle, 1, f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")

    assert len(lookup_throttle) == MAX_PLACES


# ---- at the door


@pytest.fixture
def issued(owner: User) -> str:
    return APIKey.objects.issue(name="app", owner=owner)[1]


def ask(client: Client, path: str, raw: str, header: str = "Authorization", **extra: Any) -> Any:
    credential = f"Bearer {raw}" if header == "Authorization" else raw
    method = client.get if path.endswith("models") else client.post
    return method(path, headers={header: credential}, **extra)


@pytest.mark.django_db
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("header", ["Authorization", "x-api-key"])
def test_many_guesses_cost_twenty_queries(
    client: Client, path: str, header: str, django_assert_num_queries: Callable[[int], Any]
) -> None:
    with django_assert_num_queries(A_MINUTE):
        answers = [ask(client, path, raw_key.generate(), header) for _ in range(400)]

    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(401), statuses.count(429)) == (A_MINUTE, len(answers) - A_MINUTE)
    assert answers[-1].headers["retry-after"] in map(str, range(45, 61))
    body = answers[-1].json()
    error = body["error"] if "error" in body else body["data"]["error"]
    assert (error["type"], error["message"][:48]) == (
        "rate_limit_error",
        "Too many unknown API keys came from your address",
    )


@pytest.mark.django_db
def test_a_key_that_was_met_before_goes_on_from_the_same_address_also_when_it_is_read_anew(
    client: Client, issued: str
) -> None:
    assert ask(client, PATHS[0], issued).status_code == 400
    for _ in range(A_MINUTE + 5):
        ask(client, PATHS[0], raw_key.generate())

    assert ask(client, PATHS[0], raw_key.generate()).status_code == 429
    assert ask(client, PATHS[0], issued).status_code == 400  # CONFIG_CACHE_TTL_S is 0 here: it was read again


@pytest.mark.django_db
def test_a_new_key_goes_through_from_another_address_and_garbage_is_a_401_from_the_same(
    client: Client, issued: str
) -> None:
    for _ in range(A_MINUTE + 5):
        ask(client, PATHS[0], raw_key.generate())

    assert ask(client, PATHS[0], issued).status_code == 429
    assert ask(client, PATHS[0], issued, REMOTE_ADDR="192.0.2.7").status_code == 400
    assert ask(client, PATHS[0], "garbage").status_code == 401


@pytest.mark.django_db
def test_an_unknown_key_that_is_sent_again_and_again_is_looked_up_now_and_then(
    client: Client, django_assert_num_queries: Callable[[int], Any]
) -> None:
    raw = raw_key.generate()

    with django_assert_num_queries(1):
        statuses = [ask(client, PATHS[0], raw).status_code for _ in range(50)]

    assert statuses == [401] * 50
    assert cache.find(raw) is None


@pytest.fixture(scope="module")
def proxied_server(django_db_setup: None, static_files: None) -> Iterator[GatewayServer]:
    with GatewayServer(TRUSTED_PROXIES="127.0.0.1") as server:
        yield server


def test_the_running_gateway_tells_guessers_from_others_by_what_its_proxy_says(
    transactional_db: None, proxied_server: GatewayServer, upstream: ScriptedUpstream, owner: User
) -> None:
    gateway = Gateway(proxied_server, upstream, owner)
    body = {"model": "m", "max_tokens": 8, "messages": [{"role": "user", "content": "Hi"}]}

    def status(raw: str, address: str) -> int:
        headers = {"Authorization": f"Bearer {raw}", "X-Forwarded-For": address}
        return gateway.post(PATHS[0], body, headers=headers).status

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: status(raw_key.generate(), "192.0.2.66"), range(200)))

    assert (statuses.count(401), statuses.count(429)) == (A_MINUTE, 180)
    assert status(gateway.raw_key, "192.0.2.66") == 429
    assert status(gateway.raw_key, "192.0.2.7") == 200
    assert status(gateway.raw_key, "192.0.2.66") == 200
    gateway.settled(2)
