"""A key that is ended stops everywhere within the snapshot's life, by whatever road it was ended."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from keys.models import APIKey, KeySecret, Team
from tests.conftest import missing
from tests.support.gateway import Gateway, GatewayServer, events, read_until, wait_until
from tests.support.redis_server import RedisMissing, RedisServer
from tests.support.steady import BODY, PATH, SteadyCalls
from tests.upstream import Chunk, EndChunks, Head, Pause, ScriptedUpstream, frames_of, replied

STREAMED = {"model": "m", "max_tokens": 12, "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
SSE = {"content-type": "text/event-stream"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "redis" in metafunc.fixturenames:
        states = ["absent", "up", "down"] if metafunc.config.getoption("at_length") else ["absent"]
        metafunc.parametrize("redis", states, indirect=True, scope="module")


@pytest.fixture(scope="module")
def ttl_s(at_length: bool) -> float:
    """How long a key's snapshot lives."""
    return 5.0 if at_length else 1.0


@pytest.fixture(scope="module")
def redis(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a Redis that is up, of one that is down, or none."""
    if request.param == "absent":
        yield ""
        return
    try:
        server = RedisServer()
    except RedisMissing:
        missing("no Redis server is installed")
    with server:
        if request.param == "down":
            server.stop()
        yield server.url


@pytest.fixture(scope="module")
def servers(django_db_setup: None, static_files: None, redis: str, ttl_s: float) -> Iterator[list[GatewayServer]]:
    """Several processes on one database, each with a cache of its own."""
    with ExitStack() as stack:
        settings = {"CONFIG_CACHE_TTL_S": f"{ttl_s:g}", "REDIS_URL": redis}
        yield [stack.enter_context(GatewayServer(**settings)) for _ in range(2)]


@pytest.fixture
def gateways(
    transactional_db: None, servers: list[GatewayServer], upstream: ScriptedUpstream, owner: User
) -> list[Gateway]:
    first = Gateway(servers[0], upstream, owner)
    return [first, *(first.at(server) for server in servers[1:])]


@pytest.fixture
def root(transactional_db: None, static_files: None) -> Client:
    browser = Client()
    browser.force_login(User.objects.create_superuser("root"))
    return browser


def by_page(api_key: APIKey, browser: Client) -> None:
    answer = {"reason": "unused", "note": "", "typed_name": api_key.name}
    assert browser.post(reverse("admin:keys_apikey_revoke", args=[api_key.pk]), answer).status_code == 302


def by_bulk_action(api_key: APIKey, browser: Client) -> None:
    answer = {"action": "revoke_selected", "_selected_action": api_key.pk, "confirmed": "yes", "note": "test"}
    assert browser.post("/admin/keys/apikey/", answer).status_code == 302


def by_disabling(api_key: APIKey, browser: Client) -> None:
    assert browser.post(reverse("admin:keys_apikey_disable", args=[api_key.pk])).status_code == 302


def by_command(api_key: APIKey, browser: Client) -> None:
    call_command("revoke_key", api_key.public_id, "--yes")


def by_update(api_key: APIKey, browser: Client) -> None:
    APIKey.objects.filter(pk=api_key.pk).update(revoked_at=timezone.now())


def by_sql(api_key: APIKey, browser: Client) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE keys_apikey SET revoked_at = %s WHERE id = %s", [timezone.now(), api_key.pk])


def by_expiry(api_key: APIKey, browser: Client) -> None:
    APIKey.objects.filter(pk=api_key.pk).update(expires_at=timezone.now())


def by_ending_its_secret(api_key: APIKey, browser: Client) -> None:
    KeySecret.objects.filter(api_key=api_key).update(expires_at=timezone.now())


def by_deactivating_its_owner(api_key: APIKey, browser: Client) -> None:
    assert api_key.owner is not None
    api_key.owner.is_active = False
    api_key.owner.save()


def by_disabling_its_team(api_key: APIKey, browser: Client) -> None:
    assert api_key.team is not None
    api_key.team.disable()


ROADS = [
    by_page,
    by_bulk_action,
    by_disabling,
    by_command,
    by_update,
    by_sql,
    by_expiry,
    by_ending_its_secret,
    by_deactivating_its_owner,
    by_disabling_its_team,
]


@pytest.mark.parametrize("end", ROADS, ids=lambda road: road.__name__.removeprefix("by_"))
def test_a_key_stops_in_every_process(
    end: Callable[..., None], gateways: list[Gateway], root: Client, ttl_s: float
) -> None:
    api_key = gateways[0].key
    if end is by_disabling_its_team:
        api_key.team, api_key.owner = Team.objects.create(name="Search"), None
        api_key.save()
    gateways[0].upstream.queue(replied(), times=None)

    with SteadyCalls([(gateway.port, gateway.raw_key) for gateway in gateways], per_second=20) as calls:
        # The processes learn of the test's route within the life of their list.
        wait_until(lambda: {call.port for call in calls.sent if call.status == 200} == {each.port for each in gateways})
        begun_at = time.time()
        calls.go_on(1)
        end(api_key, root)
        ended_at = time.time()
        calls.go_on(ttl_s + 1)

    for gateway in gateways:
        here = [call for call in calls.sent if call.port == gateway.port]
        assert {call.status for call in here if call.sent_at > begun_at and call.done_at < ended_at} == {200}
        late = [call.status for call in here if call.sent_at > ended_at + ttl_s]
        assert len(late) > 3 and set(late) == {401}


def test_a_call_that_outlives_the_revocation_does_not_bring_the_key_back(gateways: list[Gateway], ttl_s: float) -> None:
    wait_until(lambda: [gateway.post(PATH, BODY).status for gateway in gateways] == [200, 200])  # they know the route
    gateways[0].upstream.queue(
        lambda call: [
            Head(headers=SSE),
            *map(Chunk, frames_of(call)[:3]),
            Pause(ttl_s + 1),
            *map(Chunk, frames_of(call)[3:]),
            EndChunks(),
        ],
        times=len(gateways),
    )
    running = [gateway.open(PATH, STREAMED) for gateway in gateways]
    try:
        began = [read_until(caller, b"data: ") for caller in running]

        gateways[0].key.revoke(note="test")
        ends = [read_until(caller, b"data: [DONE]") for caller in running]

        assert all(b"200 OK" in head for head in began)
        assert not [event for end in ends for event in events(end.decode().split("\n")) if "error" in event]
        for gateway in gateways:
            assert [gateway.post(PATH, STREAMED).status for _ in range(3)] == [401, 401, 401]
    finally:
        for caller in running:
            caller.close()
