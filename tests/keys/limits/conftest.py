"""Both forms of counting, in front of the same cases: in this process, and in a real Redis."""

from collections.abc import Callable, Iterator

import pytest
from django.contrib.auth.models import User
from django.db import connection
from pytest_django import Settings

from keys.limits.limiter import Limiter
from lib.shared_store import Store
from tests.conftest import missing
from tests.keys.limits.limiters import Counted, LocalTime, SharedTime
from tests.support.gateway import Gateway, GatewayServer
from tests.support.redis_server import RedisMissing, RedisServer
from tests.upstream import ScriptedUpstream

WAIT_S = 0.5  # what a busy machine may take to answer, and no outage


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
    """An empty server that the settings name."""
    if not running_redis.is_running:  # the test before failed in between
        running_redis.start()
    running_redis.empty()
    settings.REDIS_URL = running_redis.url
    settings.REDIS_TIMEOUT_S = WAIT_S
    return running_redis


@pytest.fixture
def new_limiter() -> Iterator[Callable[[], Limiter]]:
    """Makes the limiter of one more process, with a way to the store of its own."""
    made: list[tuple[Limiter, Store]] = []

    def make() -> Limiter:
        store = Store()
        made.append((Limiter(store), store))
        return made[-1][0]

    yield make
    for limiter, store in made:
        limiter.close()
        store.close()


@pytest.fixture(params=["in this process", "shared"])
def counted(request: pytest.FixtureRequest, settings: Settings) -> Iterator[Counted]:
    """A limiter in one of the two forms, whose time the test makes pass."""
    settings.WEB_CONCURRENCY = 1
    store = Store()
    time: LocalTime | SharedTime
    if request.param == "shared":
        time = SharedTime(request.getfixturevalue("redis_server").url)
        limiter = Limiter(store)
        limiter.close()  # nothing is renewed by a clock that the test does not move
    else:
        time = LocalTime()
        limiter = Limiter(store, now_ms=time.now_ms)
    yield Counted(limiter, time)
    limiter.close()
    store.close()
    time.close()


@pytest.fixture(scope="module")
def shared_server(django_db_setup: None, static_files: None, running_redis: RedisServer) -> Iterator[GatewayServer]:
    """A gateway that counts in Redis: with two workers where the database takes several."""
    workers = "2" if connection.vendor == "postgresql" else "1"
    with GatewayServer(REDIS_URL=running_redis.url, REDIS_TIMEOUT_S=f"{WAIT_S:g}", WEB_CONCURRENCY=workers) as server:
        yield server


@pytest.fixture(params=["in this process", "shared"])
def limited(request: pytest.FixtureRequest, transactional_db: None, upstream: ScriptedUpstream, owner: User) -> Gateway:
    """A running gateway, which counts in one of the two forms."""
    name = "shared_server" if request.param == "shared" else "gateway_server"
    return Gateway(request.getfixturevalue(name), upstream, owner)
