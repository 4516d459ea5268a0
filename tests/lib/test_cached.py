"""Cached tables: one thread reads for all, and waiting threads neither hold connections nor wait forever."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn

import pytest
from django.db import OperationalError, connections
from django.db.backends.signals import connection_created
from pytest_django import Settings

from keys.errors import LedgerUnavailable
from keys.pricing.price_book import PriceCache
from lib import deadlines
from lib.cached import SingleFlightCache
from messages_api.errors import RequestError
from messages_api.routing.route_table import RouteCache


class Table:
    """A table with one number, which a test sets. Reading waits while the table is locked."""

    def __init__(self) -> None:
        self.number = 1
        self.is_unavailable = False
        self.reads = 0
        self.being_read = threading.Event()
        self.unlocked = threading.Event()
        self.unlocked.set()

    def read(self) -> int:
        self.reads += 1
        self.being_read.set()
        assert self.unlocked.wait(10)
        if self.is_unavailable:
            raise OperationalError
        return self.number


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def cached(table: Table, settings: Settings) -> SingleFlightCache[int]:
    """A cache that has read the first number and is fresh."""
    settings.CONFIG_CACHE_TTL_S, settings.DATABASE_TIMEOUT_S = 60, 5
    cached = SingleFlightCache(table.read)
    assert cached.get() == 1
    table.number = 2
    return cached


@pytest.fixture
def is_expired(cached: SingleFlightCache[int]) -> None:
    cached._fresh_until = 0.0


@pytest.fixture
def reader(table: Table, cached: SingleFlightCache[int], is_expired: None) -> Iterator[ThreadPoolExecutor]:
    """A pool in which one thread is reading the second number."""
    table.being_read.clear()
    table.unlocked.clear()
    with ThreadPoolExecutor(8) as pool:
        pool.submit(cached.get)
        assert table.being_read.wait(5)
        yield pool
        table.unlocked.set()


def test_a_fresh_value_is_not_read_again(table: Table, cached: SingleFlightCache[int]) -> None:
    assert [cached.get() for _ in range(3)] == [1, 1, 1]
    assert table.reads == 1
    assert cached.get(is_fresh=True) == 2


def test_threads_that_wait_for_a_read_share_its_result(
    table: Table, cached: SingleFlightCache[int], reader: ThreadPoolExecutor
) -> None:
    others = [reader.submit(cached.get) for _ in range(5)]
    time.sleep(0.1)
    table.unlocked.set()

    assert [each.result(5) for each in others] == [2] * 5
    assert table.reads == 2


def test_a_waiting_thread_releases_its_connection(
    table: Table, cached: SingleFlightCache[int], reader: ThreadPoolExecutor
) -> None:
    closed: list[str] = []

    def wait() -> int | None:
        connection_created.send(type(connections["default"]), connection=connections["default"])
        connections["default"].close = lambda: closed.append(threading.current_thread().name)  # type: ignore[method-assign]
        try:
            return cached.get()
        finally:
            del connections["default"].close

    other = reader.submit(wait)
    time.sleep(0.1)
    assert len(closed) == 1 and not other.done()
    table.unlocked.set()
    assert other.result(5) == 2


def test_after_its_deadline_a_waiting_thread_gets_the_last_value(cached: SingleFlightCache[int], reader: None) -> None:
    began = time.monotonic()
    with deadlines.deadline(0.2):
        assert cached.get() == 1
    assert 0.2 <= time.monotonic() - began < 2


def test_waiting_for_the_first_value_is_limited(table: Table, settings: Settings) -> None:
    settings.CONFIG_CACHE_TTL_S, settings.DATABASE_TIMEOUT_S = 60, 0.2
    table.unlocked.clear()
    unread = SingleFlightCache(table.read)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(unread.get)
        assert table.being_read.wait(5)
        assert unread.get() is None
        table.unlocked.set()


def test_an_unavailable_database_leaves_the_last_value_and_is_rarely_queried(
    table: Table, cached: SingleFlightCache[int], is_expired: None
) -> None:
    table.is_unavailable = True

    assert [cached.get() for _ in range(5)] == [1] * 5
    assert table.reads == 2


def test_without_any_value_the_caches_raise() -> None:
    with pytest.raises(LedgerUnavailable):
        PriceCache(unavailable).book()
    with pytest.raises(RequestError):
        RouteCache(unavailable).table()


def unavailable() -> NoReturn:
    raise OperationalError


def test_a_value_in_use_is_read_before_it_is_due(cached: SingleFlightCache[int], table: Table) -> None:
    cached.get()
    cached.refresh_ahead()
    assert cached.last == 1  # it is not due soon

    cached._fresh_until = time.monotonic() + 1
    cached.refresh_ahead()

    assert (cached.last, table.reads) == (2, 2)


def test_a_value_that_is_not_in_use_is_not_read(cached: SingleFlightCache[int], table: Table) -> None:
    cached._fresh_until = 0.0

    cached.refresh_ahead()

    assert table.reads == 1


def test_a_value_that_is_read_is_not_read_twice(cached: SingleFlightCache[int], table: Table, is_expired: None) -> None:
    cached._is_used = True
    with cached._lock:
        cached.refresh_ahead()

    assert table.reads == 1
