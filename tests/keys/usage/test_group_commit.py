"""The writer's thread: batches, abandoned statements and outages, with a fake database."""

import threading
from typing import Any

import pytest
from django.db import OperationalError

from keys.usage.group_commit import GroupCommit
from tests.support.gateway import wait_until

pytestmark = pytest.mark.usefixtures("transactional_db")


class _Database:
    """A database that can be unavailable or slow."""

    def __init__(self) -> None:
        self.is_unavailable = False
        self.may_continue = threading.Event()
        self.may_continue.set()
        self.log: list[str] = []
        self.chores = {"chore": self.chore}

    def check(self) -> None:
        if self.is_unavailable:
            raise OperationalError("unavailable")

    def chore(self) -> bool:
        self.check()
        self.log.append("chore")
        return False

    def write(self, statements: list[Any], connection: object) -> None:
        self.may_continue.wait(10)
        if self.is_unavailable:
            raise OperationalError("unavailable")
        self.log += [f"{statement.name} written" for statement in statements]

    def writer(self) -> GroupCommit:
        return GroupCommit(
            self.write,
            chores=self.chores,
            check=self.check,
            flush=lambda: self.log.append("flushed"),
            chore_interval_s=0.2,
        )


class _Statement:
    error: Exception | None = None

    def __init__(self, name: str, database: _Database) -> None:
        self.name, self._database = name, database

    def abandon(self, error: Exception, *, is_in_doubt: bool) -> Exception | None:
        self._database.log.append(f"{self.name} abandoned")
        return error

    def committed_after_abandon(self) -> None:
        self._database.log.append(f"{self.name} committed after abandon")


def test_during_an_outage_statements_are_abandoned_without_a_query() -> None:
    database = _Database()
    writer = database.writer()
    database.is_unavailable = True
    for name in ("first", "second"):
        with pytest.raises(OperationalError):
            writer.submit(_Statement(name, database)).wait(5)

    assert writer.is_unavailable
    database.is_unavailable = False
    wait_until(lambda: not writer.is_unavailable)
    assert writer.submit(_Statement("third", database)).wait(5)
    writer.close()
    assert [entry for entry in database.log if entry not in ("flushed", "chore")] == [
        "first abandoned",
        "second abandoned",
        "third written",
    ]
    assert database.log.index("first abandoned") < database.log.index("flushed")
    assert database.log[-2:] == ["chore", "third written"]


def test_a_slow_statement_is_abandoned_and_undone_and_nothing_queues_behind_it(settings: Any) -> None:
    settings.DATABASE_TIMEOUT_S = 0.2
    database = _Database()
    writer = database.writer()
    database.may_continue.clear()

    ticket = writer.submit(_Statement("slow", database))
    assert not ticket.wait(0.3)
    assert writer.is_unavailable and ticket.abandon()
    database.may_continue.set()

    wait_until(lambda: not writer.is_unavailable)
    writer.close()
    assert [entry for entry in database.log if entry != "chore"] == [
        "slow written",
        "slow committed after abandon",
    ]


def test_a_statement_that_is_abandoned_in_the_queue_is_not_written() -> None:
    database = _Database()
    writer = database.writer()
    database.may_continue.clear()
    first = writer.submit(_Statement("first", database))
    wait_until(lambda: writer._queue.empty())
    second = writer.submit(_Statement("second", database))

    assert not second.wait(0.1) and second.abandon()
    database.may_continue.set()

    assert first.wait(5)
    writer.close()
    assert [entry for entry in database.log if entry != "chore"] == ["first written"]


def test_closing_writes_the_queue_and_may_be_repeated() -> None:
    database = _Database()
    writer = database.writer()
    for number in range(20):
        writer.submit(_Statement(str(number), database))

    assert writer.close()
    assert writer.close()

    assert [entry for entry in database.log if entry != "chore"] == [f"{number} written" for number in range(20)]
