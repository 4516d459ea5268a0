"""Both forms of the limiter for the same tests: in this process, and in a real Redis."""

from collections.abc import Callable, Iterator

import pytest
from django.contrib.auth.models import User
from django.db import connection
from pytest_django import Settings

from keys.limits.limiter import Limiter
from lib.shared_store import Store
from tests.conftest import missing
from tests.keys.limits.limiters import LocalTime, SharedTime, TimedLimiter
from tests.support.gateway import Gateway, GatewayServer, wait_until
from tests.support.redis_server import RedisMissing, RedisServer
from tests.upstream import ScriptedUpstream

TIMEOUT_S = 0.5  # a busy machine may take so long to respond without being unavailable


@pytest.fixture(scope="module")
def running_redis() -> Iterator[RedisServer]:
    try:
        server = RedisServer()
    except RedisMissing:
        missing("Redis is not installed")
    server.start()
    yield server
    server.remove()


@pytest.fixture
def redis_server(running_redis: RedisServer, settings: Settings) -> RedisServer:
    """An empty server, configured in the settings."""
    if not running_redis.is_running:  # the previous test failed while it was stopped
        running_redis.start()
    running_redis.empty()
    settings.REDIS_URL = running_redis.url
    settings.REDIS_TIMEOUT_S = TIMEOUT_S
    return running_redis


@pytest.fixture
def new_limiter() -> Iterator[Callable[[], Limiter]]:
    """Create the limiter of another process, with a connection of its own."""
    created: list[tuple[Limiter, Store]] = []

    def create() -> Limiter:
        store = Store()
        created.append((Limiter(store), store))
        return created[-1][0]

    yield create
    for limiter, store in created:
        limiter.close()
        # A renewal that is under way would add slots to the empty server of the next test.
        wait_until(lambda: not limiter._leases._loop.is_started)  # noqa: B023
        store.close()


@pytest.fixture(params=["in this process", "shared"])
def limiter(request: pytest.FixtureRequest, settings: Settings) -> Iterator[TimedLimiter]:
    """A limiter in one of the two forms, whose clock the test moves."""
    settings.WEB_CONCURRENCY = 1
    store = Store()
    time: LocalTime | SharedTime
    if request.param == "shared":
        time = SharedTime(request.getfixturevalue("redis_server").url)
        inner = Limiter(store)
        inner.close()  # the clock of renewals is not the one that the test moves
    else:
        time = LocalTime()
        inner = Limiter(store, now_ms=time.now_ms)
    yield TimedLimiter(inner, time)
    inner.close()
    store.close()
    time.close()


@pytest.fixture(scope="module")
def shared_server(django_db_setup: None, static_files: None, running_redis: RedisServer) -> Iterator[GatewayServer]:
    """A gateway that counts in Redis, with two workers where the database supports several."""
    workers = "2" if connection.vendor == "postgresql" else "1"
    with GatewayServer(
        REDIS_URL=running_redis.url, REDIS_TIMEOUT_S=f"{TIMEOUT_S:g}", WEB_CONCURRENCY=workers
    ) as server:
        yield server


@pytest.fixture(params=["in this process", "shared"])
def limited(request: pytest.FixtureRequest, transactional_db: None, upstream: ScriptedUpstream, owner: User) -> Gateway:
    """A running gateway with one of the two forms."""
    name = "shared_server" if request.param == "shared" else "gateway_server"
    return Gateway(request.getfixturevalue(name), upstream, owner)
