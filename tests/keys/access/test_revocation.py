"""Revocation takes effect in every process within CONFIG_CACHE_TTL_S, however the key became unusable."""

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
from tests.support.gateway import Gateway, GatewayServer, events, free_port, read_until, wait_until
from tests.support.redis_server import RedisServer
from tests.support.steady_requests import BODY, PATH, SteadyRequests
from tests.upstream import Chunk, EndChunks, Head, Pause, ScriptedUpstream, frames_of, replied

STREAMED = {"model": "m", "max_tokens": 12, "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
SSE = {"content-type": "text/event-stream"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "redis" in metafunc.fixturenames:
        states = ["absent", "up", "down"] if metafunc.config.getoption("at_length") else ["absent"]
        metafunc.parametrize("redis", states, indirect=True, scope="module")


@pytest.fixture(scope="module")
def ttl_s(at_length: bool) -> float:
    """CONFIG_CACHE_TTL_S of the processes."""
    return 5.0 if at_length else 1.0


@pytest.fixture(scope="module")
def redis(request: pytest.FixtureRequest) -> str:
    """The URL of a Redis server that is up or down, or an empty string."""
    if request.param == "up":
        server: RedisServer = request.getfixturevalue("running_redis")
        server.restore()
        return server.url
    return f"redis://127.0.0.1:{free_port()}/0" if request.param == "down" else ""


@pytest.fixture(scope="module")
def servers(django_db_setup: None, static_files: None, redis: str, ttl_s: float) -> Iterator[list[GatewayServer]]:
    """Several processes on one database, each with its own cache."""
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
    form = {"reason": "unused", "note": "", "typed_name": api_key.name}
    assert browser.post(reverse("admin:keys_apikey_revoke", args=[api_key.pk]), form).status_code == 302


def by_bulk_action(api_key: APIKey, browser: Client) -> None:
    form = {"action": "revoke_selected", "_selected_action": api_key.pk, "confirmed": "yes", "note": "test"}
    assert browser.post("/admin/keys/apikey/", form).status_code == 302


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


def by_expiring_its_secret(api_key: APIKey, browser: Client) -> None:
    KeySecret.objects.filter(api_key=api_key).update(expires_at=timezone.now())


def by_deactivating_its_owner(api_key: APIKey, browser: Client) -> None:
    assert api_key.owner is not None
    api_key.owner.is_active = False
    api_key.owner.save()


def by_disabling_its_team(api_key: APIKey, browser: Client) -> None:
    assert api_key.team is not None
    api_key.team.disable()


WAYS = [
    by_page,
    by_bulk_action,
    by_disabling,
    by_command,
    by_update,
    by_sql,
    by_expiry,
    by_expiring_its_secret,
    by_deactivating_its_owner,
    by_disabling_its_team,
]


@pytest.mark.parametrize("block", WAYS, ids=lambda way: way.__name__.removeprefix("by_"))
def test_a_key_stops_in_every_process(
    block: Callable[..., None], gateways: list[Gateway], root: Client, ttl_s: float
) -> None:
    api_key = gateways[0].key
    if block is by_disabling_its_team:
        api_key.team, api_key.owner = Team.objects.create(name="Search"), None
        api_key.save()
    gateways[0].upstream.queue(replied(), times=None)

    with SteadyRequests([(gateway.port, gateway.raw_key) for gateway in gateways], per_second=20) as requests:
        # Until the processes have read the test's route.
        ports = {gateway.port for gateway in gateways}
        wait_until(lambda: {request.port for request in requests.sent if request.status == 200} == ports)
        begun_at = time.time()
        requests.continue_for(1)
        block(api_key, root)
        ended_at = time.time()
        requests.continue_for(ttl_s + 1)

    for gateway in gateways:
        here = [request for request in requests.sent if request.port == gateway.port]
        before = [request for request in here if request.sent_at > begun_at and request.done_at < ended_at]
        assert {request.status for request in before} == {200}
        late = [request.status for request in here if request.sent_at > ended_at + ttl_s]
        assert len(late) > 3 and set(late) == {401}


def test_a_request_that_outlives_the_revocation_does_not_restore_the_key(gateways: list[Gateway], ttl_s: float) -> None:
    # Until the processes have read the test's route.
    wait_until(lambda: [gateway.post(PATH, BODY).status for gateway in gateways] == [200, 200])
    gateways[0].upstream.queue(
        lambda request: [
            Head(headers=SSE),
            *map(Chunk, frames_of(request)[:3]),
            Pause(ttl_s + 1),
            *map(Chunk, frames_of(request)[3:]),
            EndChunks(),
        ],
        times=len(gateways),
    )
    streams = [gateway.open(PATH, STREAMED) for gateway in gateways]
    try:
        began = [read_until(stream, b"data: ") for stream in streams]

        gateways[0].key.revoke(note="test")
        ends = [read_until(stream, b"data: [DONE]") for stream in streams]

        assert all(b"200 OK" in head for head in began)
        assert not [event for end in ends for event in events(end.decode().split("\n")) if "error" in event]
        for gateway in gateways:
            assert [gateway.post(PATH, STREAMED).status for _ in range(3)] == [401, 401, 401]
    finally:
        for stream in streams:
            stream.close()
