"""
One writer thread that commits what waits: a call alone waits for one statement, and a hundred share one.

The thread is a real one (see `native`) with a database connection of its own, outside any pool. A batch that fails is
taken apart, so one poisonous statement does not take the others with it. While the database is away, each statement
is told so and decides what becomes of it; none waits for an answer that may never come.
"""

import logging
import time
from collections.abc import Callable
from typing import Any, Protocol

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, InterfaceError, InternalError, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from keys.usage.outage import PROBE_INTERVAL_S, Outage
from lib import threads
from lib.once_per_process import OncePerProcess

logger = logging.getLogger(__name__)

MAX_BATCH = 200  # a larger one would keep the rows of its budgets locked for longer than others like to wait
AWAY = (OperationalError, InterfaceError, InternalError)  # the last: a server that has become a read-only copy


class Statement(Protocol):
    """Something to write. Both methods are called in the writer's thread."""

    verdict: Exception | None
    """What its submitter is told although it was written; set while it is."""

    def give_up(self, error: Exception, *, is_in_doubt: bool) -> Exception | None:
        """The database does not take it. Return the error for its submitter, or None if it is safe elsewhere.

        In doubt it may have taken it after all, or may still do so: it was asked, and did not answer.
        """

    def come_too_late(self) -> None:
        """It is written, but its submitter has given it up."""


Write = Callable[[list[Any], BaseDatabaseWrapper], None]
"""Writes the statements of a batch, all or none. May be called again after a failed attempt: must be idempotent."""


class Ticket:
    """A submitted statement and the signal of its end."""

    def __init__(self, statement: Statement) -> None:
        self.statement = statement
        self._signal = threads.signal()
        self._error: Exception | None = None
        self._undecided = [True]  # whoever takes it out decides: `pop` is atomic in every kind of thread

    def wait(self, timeout: float) -> bool:
        """Whether the writer is done with it in time. Raise what went wrong."""
        if not self._signal.wait(timeout):
            return False
        self._raise_error()
        return True

    def give_up(self) -> bool:
        """Give it up, for good: the writer undoes it. Return False if it is done already; raise what went wrong."""
        if self._decide():
            return True
        self._raise_error()
        return False

    @property
    def is_given_up(self) -> bool:
        """Only for the writer, before it is done with it."""
        return not self._undecided

    def finish(self, error: Exception | None) -> bool:
        """Tell the submitter. Return whether it still waited."""
        self._error = error
        return self._decide()

    def wake(self) -> None:
        self._signal.set_from_thread()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _decide(self) -> bool:
        try:
            return self._undecided.pop()
        except IndexError:
            return False


class GroupCommit:
    """The writer of one process. Starts with the first statement, in whatever process that comes (workers fork)."""

    def __init__(
        self, write_batch: Write, *, chores: Callable[[], None], secure: Callable[[], None], chore_every_s: float
    ) -> None:
        self._write_batch = write_batch
        self._chores = chores
        """What is done with the database from time to time, and first of all after an outage."""
        self._secure = secure
        """Brings to safety what was given up: at once, and again and again while the database is away."""
        self._chore_every_s = chore_every_s
        self._thread = OncePerProcess(self._start_thread)
        self._outage: Outage | None = None
        self._busy_since: float | None = None

    @property
    def is_unavailable(self) -> bool:
        """Whether the database takes nothing now, or what is being written takes so long that nobody should queue."""
        if not self._thread.is_started:
            return False
        busy_since = self._busy_since
        return self._outage is not None or (
            busy_since is not None and time.monotonic() - busy_since > settings.DATABASE_TIMEOUT_S
        )

    def submit(self, statement: Statement) -> Ticket:
        """Queue a statement. It is written in the order in which it came, together with its neighbours."""
        self._thread.ensure()
        ticket = Ticket(statement)
        self._queue.put(ticket)
        return ticket

    def write(self, statement: Statement) -> bool:
        """Submit a statement and wait for its commit, as long as the database answers. Raise what went wrong.

        Return False if it does not answer: then the statement is given up. A long queue is no reason for that.
        """
        ticket = self.submit(statement)
        while not ticket.wait(settings.DATABASE_TIMEOUT_S):
            if self.is_unavailable and ticket.give_up():
                return False
        return True

    def start(self) -> None:
        """Start the thread unless it runs in this process."""
        self._thread.ensure()

    def _start_thread(self) -> None:
        self._queue = threads.simple_queue()
        self._stopped = threads.signal()
        self._outage = None
        self._busy_since = None
        threads.run_in_thread(self._run)

    def close(self, timeout: float = 10.0) -> bool:
        """Write what waits, then end the thread. Return whether it ended in time. May be called twice."""
        if not self._thread.is_started:
            return True
        self._queue.put(None)
        ended = self._stopped.wait(timeout)
        self._thread.reset()
        return ended

    # ---- in the writer's thread

    def _run(self) -> None:
        connection = own_connection()
        next_turn = 0.0
        running = True
        while running:
            batch, running = self._next_batch(max(0.0, next_turn - time.monotonic()))
            self._busy_since = time.monotonic()
            if batch:
                self._commit(batch, connection)
            if running and time.monotonic() >= next_turn:
                self._take_turn(connection)
                next_turn = time.monotonic() + (PROBE_INTERVAL_S if self._outage else self._chore_every_s)
            elif self._outage is not None:
                next_turn = min(next_turn, time.monotonic() + PROBE_INTERVAL_S)
            self._busy_since = None
        if self._outage is not None:
            self._outage.abandon()
        connection.close()
        self._stopped.set_from_thread()

    def _next_batch(self, wait_s: float) -> tuple[list[Ticket], bool]:
        """What waits, at most MAX_BATCH; the second value is False when the end was asked for."""
        batch: list[Ticket] = []
        try:
            ticket = self._queue.get(timeout=wait_s)
            while ticket is not None:
                batch.append(ticket)
                if len(batch) == MAX_BATCH:
                    return batch, True
                ticket = self._queue.get_nowait()
        except threads.QueueEmpty:
            return batch, True
        return batch, False

    def _commit(self, batch: list[Ticket], connection: BaseDatabaseWrapper) -> None:
        batch = [ticket for ticket in batch if not ticket.is_given_up]
        if self._outage is not None:
            self._give_up(batch, self._outage.error)
            return
        is_asked = False
        try:
            _connect(connection)
            is_asked = True
            self._write_batch([ticket.statement for ticket in batch], connection)
        except AWAY as error:
            self._give_up(batch, error, is_in_doubt=is_asked)
            self._begin_outage(error, connection)
        except Exception as error:  # the thread must not die
            self._isolate(batch, error, connection)
        else:
            _finish(batch)

    def _isolate(self, batch: list[Ticket], error: Exception, connection: BaseDatabaseWrapper) -> None:
        """Halve a batch until what is not fit for the database stands alone: the others are innocent."""
        if len(batch) > 1:
            self._commit(batch[: len(batch) // 2], connection)
            self._commit(batch[len(batch) // 2 :], connection)
        else:
            logger.error("The ledger could not write a statement", exc_info=error)
            self._give_up(batch, error)

    def _give_up(self, batch: list[Ticket], error: Exception, *, is_in_doubt: bool = False) -> None:
        errors = [ticket.statement.give_up(error, is_in_doubt=is_in_doubt) for ticket in batch]
        self._secure()
        for ticket, each in zip(batch, errors, strict=True):
            ticket.finish(each)
            ticket.wake()

    # ---- chores, and outages

    def _take_turn(self, connection: BaseDatabaseWrapper) -> None:
        if self._outage is not None:
            self._secure()
            if not self._outage.is_answered:
                return
        try:
            self._chores()
        except AWAY as error:
            self._begin_outage(error, connection)
        except Exception:  # the thread must not die
            logger.exception("A chore of the ledger failed")
        else:
            self._end_outage()

    def _begin_outage(self, error: Exception, connection: BaseDatabaseWrapper) -> None:
        connection.close()
        if self._outage is None:
            self._outage = Outage(error, own_connection)
        elif self._outage.is_answered:
            self._outage.go_on()

    def _end_outage(self) -> None:
        outage, self._outage = self._outage, None
        if outage is not None:
            outage.end()


def own_connection() -> BaseDatabaseWrapper:
    """A connection for this thread alone. A pool's locks are greenlets' locks: a real thread keeps away from them."""
    connection = connections.create_connection(DEFAULT_DB_ALIAS)
    options = {name: value for name, value in connection.settings_dict["OPTIONS"].items() if name != "pool"}
    options |= {name: settings.DATABASE_TIMEOUT_S for name in ("answer_within_s", "timeout") if name in options}
    connection.settings_dict = {**connection.settings_dict, "OPTIONS": options, "CONN_MAX_AGE": None}
    connections[DEFAULT_DB_ALIAS] = connection
    return connection


def _connect(connection: BaseDatabaseWrapper) -> None:
    if connection.connection is not None and not connection.is_usable():
        connection.close()  # the server has ended it
    connection.ensure_connection()


def _finish(batch: list[Ticket]) -> None:
    for ticket in batch:
        if not ticket.finish(ticket.statement.verdict):
            ticket.statement.come_too_late()
        ticket.wake()
