"""What a process knows of a table: one reads for all, nobody goes by an older one, and nobody stands in the way."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn

import pytest
from django.db import OperationalError, connections
from pytest_django import Settings

from keys.errors import LedgerUnavailable
from keys.pricing.price_book import PriceCache
from lib import deadlines
from lib.cached import SingleFlightCache
from messages_api.errors import RequestError
from messages_api.routing.route_table import RouteCache


class Table:
    """What is read: a number that a test sets. A reader waits while the table is locked."""

    def __init__(self) -> None:
        self.number = 1
        self.is_away = False
        self.reads = 0
        self.being_read = threading.Event()
        self.unlocked = threading.Event()
        self.unlocked.set()

    def read(self) -> int:
        self.reads += 1
        self.being_read.set()
        assert self.unlocked.wait(10)
        if self.is_away:
            raise OperationalError
        return self.number


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def known(table: Table, settings: Settings) -> SingleFlightCache[int]:
    """The first number has been read, and is good for a while."""
    settings.CONFIG_CACHE_TTL_S, settings.DATABASE_TIMEOUT_S = 60, 5
    known = SingleFlightCache(table.read)
    assert known.get() == 1
    table.number = 2
    return known


@pytest.fixture
def is_old(known: SingleFlightCache[int]) -> None:
    known._fresh_until = 0.0


@pytest.fixture
def reader(table: Table, known: SingleFlightCache[int], is_old: None) -> Iterator[ThreadPoolExecutor]:
    """Somebody has begun to read the second number."""
    table.being_read.clear()
    table.unlocked.clear()
    with ThreadPoolExecutor(8) as pool:
        pool.submit(known.get)
        assert table.being_read.wait(5)
        yield pool
        table.unlocked.set()


def test_it_is_read_once_for_as_long_as_it_is_good(table: Table, known: SingleFlightCache[int]) -> None:
    assert [known.get() for _ in range(3)] == [1, 1, 1]
    assert table.reads == 1
    assert known.get(is_fresh=True) == 2


def test_who_comes_while_it_is_read_gets_what_is_read(
    table: Table, known: SingleFlightCache[int], reader: ThreadPoolExecutor
) -> None:
    others = [reader.submit(known.get) for _ in range(5)]
    time.sleep(0.1)
    table.unlocked.set()

    assert [each.result(5) for each in others] == [2] * 5
    assert table.reads == 2


def test_who_waits_keeps_no_connection(table: Table, known: SingleFlightCache[int], reader: ThreadPoolExecutor) -> None:
    closed: list[str] = []

    def wait() -> int | None:
        connections["default"].close = lambda: closed.append(threading.current_thread().name)  # type: ignore[method-assign]
        try:
            return known.get()
        finally:
            del connections["default"].close

    other = reader.submit(wait)
    time.sleep(0.1)
    assert len(closed) == 1 and not other.done()
    table.unlocked.set()
    assert other.result(5) == 2


def test_who_has_waited_long_enough_goes_on_with_the_last_one(known: SingleFlightCache[int], reader: None) -> None:
    began = time.monotonic()
    with deadlines.deadline(0.2):
        assert known.get() == 1
    assert 0.2 <= time.monotonic() - began < 2


def test_where_there_is_none_yet_nobody_waits_for_ever(table: Table, settings: Settings) -> None:
    settings.CONFIG_CACHE_TTL_S, settings.DATABASE_TIMEOUT_S = 60, 0.2
    table.unlocked.clear()
    unread = SingleFlightCache(table.read)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(unread.get)
        assert table.being_read.wait(5)
        assert unread.get() is None
        table.unlocked.set()


def test_while_the_database_is_away_the_last_one_stands_and_few_ask(
    table: Table, known: SingleFlightCache[int], is_old: None
) -> None:
    table.is_away = True

    assert [known.get() for _ in range(5)] == [1] * 5
    assert table.reads == 2


def test_where_there_never_was_one_the_caller_is_told() -> None:
    with pytest.raises(LedgerUnavailable):
        PriceCache(away).book()
    with pytest.raises(RequestError):
        RouteCache(away).table()


def away() -> NoReturn:
    raise OperationalError
