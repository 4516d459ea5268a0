"""Both forms of the limiter for the same tests: in this process, and in a real Redis."""

from collections.abc import Callable, Iterator

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

from keys.limits.limiter import Limiter
from lib.shared_store import SharedStore
from tests.keys.limits.limiters import LocalTime, SharedTime, TimedLimiter
from tests.support.gateway import Gateway, wait_until
from tests.upstream import ScriptedUpstream


@pytest.fixture
def new_limiter() -> Iterator[Callable[[], Limiter]]:
    """Create the limiter of another process, with a connection of its own."""
    created: list[tuple[Limiter, SharedStore]] = []

    def create() -> Limiter:
        store = SharedStore()
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
    store = SharedStore()
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


@pytest.fixture(params=["in this process", "shared"])
def limited(request: pytest.FixtureRequest, transactional_db: None, upstream: ScriptedUpstream, owner: User) -> Gateway:
    """A running gateway with one of the two forms."""
    name = "shared_server" if request.param == "shared" else "gateway_server"
    return Gateway(request.getfixturevalue(name), upstream, owner)
