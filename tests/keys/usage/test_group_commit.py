"""The writer's thread: batches, abandoned statements and outages, with a fake database."""

import threading
import time
from typing import Any

import pytest
from django.db import OperationalError

from keys.usage import group_commit
from keys.usage.group_commit import GroupCommit
from keys.usage.outage import Outage
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


def test_an_outage_has_begun_when_the_first_submitter_learns_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the gateway is ready in between, and admits a request that it cannot record."""
    database = _Database()
    writer = database.writer()
    assert writer.submit(_Statement("first", database)).wait(5)

    def begin_slowly(*arguments: Any) -> Outage:
        time.sleep(0.1)
        return Outage(*arguments)

    monkeypatch.setattr(group_commit, "Outage", begin_slowly)
    database.is_unavailable = True
    with pytest.raises(OperationalError):
        writer.submit(_Statement("second", database)).wait(5)

    assert writer.is_unavailable
    assert writer.close()


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


def test_statements_of_a_thread_that_does_not_stop_are_abandoned() -> None:
    database = _Database()
    writer = database.writer()
    database.may_continue.clear()
    writer.submit(_Statement("first", database))
    wait_until(lambda: writer._queue.empty())
    writer.submit(_Statement("second", database))
    stopped = writer._stopped

    assert not writer.close(timeout=0.2)

    assert [entry for entry in database.log if entry != "chore"] == ["first abandoned", "second abandoned", "flushed"]
    database.may_continue.set()
    assert stopped.wait(5)
    written = [entry for entry in database.log if entry != "chore"][-2:]
    assert written == ["first written", "first committed after abandon"]


def test_an_outage_ends_when_the_database_accepts_writes_although_a_chore_fails() -> None:
    database = _Database()
    database.chores = {"broken": _fail, "locked": _time_out, "chore": database.chore}
    writer = database.writer()
    database.is_unavailable = True
    with pytest.raises(OperationalError):
        writer.submit(_Statement("first", database)).wait(5)

    database.is_unavailable = False
    wait_until(lambda: not writer.is_unavailable)

    assert writer.submit(_Statement("second", database)).wait(5)
    assert writer.available_for_s < 60
    writer.close()
    assert "chore" in database.log and database.log[-1] == "second written"


def test_a_chore_that_fails_stops_neither_the_others_nor_admission() -> None:
    database = _Database()
    database.chores = {"broken": _fail, "locked": _time_out, "chore": database.chore}
    writer = database.writer()
    writer.start()

    wait_until(lambda: database.log.count("chore") > 1)

    assert not writer.is_unavailable
    assert writer.submit(_Statement("statement", database)).wait(5)
    writer.close()


def test_a_chore_that_finds_the_database_unavailable_starts_an_outage() -> None:
    database = _Database()
    writer = database.writer()
    writer.start()
    wait_until(lambda: "chore" in database.log)
    database.is_unavailable = True

    wait_until(lambda: writer.is_unavailable)

    database.is_unavailable = False
    wait_until(lambda: not writer.is_unavailable)
    writer.close()


def test_statements_are_written_between_the_slices_of_a_long_chore() -> None:
    database = _Database()
    slices: list[int] = []

    def slice_() -> bool:
        slices.append(len(slices))
        threading.Event().wait(0.01)
        return len(slices) < 500

    database.chores = {"long": slice_}
    writer = database.writer()

    assert writer.submit(_Statement("statement", database)).wait(5)

    assert len(slices) < 100
    writer.close()


def test_a_statement_that_cannot_be_abandoned_keeps_no_other_waiting() -> None:
    database = _Database()
    writer = database.writer()
    writer.start()
    wait_until(lambda: "chore" in database.log)
    database.is_unavailable = True
    broken = _Statement("broken", database)
    broken.abandon = _fail  # type: ignore[method-assign]

    tickets = [writer.submit(broken), writer.submit(_Statement("second", database))]

    with pytest.raises(ZeroDivisionError):
        tickets[0].wait(5)
    with pytest.raises(OperationalError):
        tickets[1].wait(5)
    writer.close()


def _fail(*_: object, **__: object) -> Any:
    raise ZeroDivisionError("a defect")


def _time_out() -> bool:
    raise OperationalError("lock timeout")
