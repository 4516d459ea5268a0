"""
One writer thread that commits what waits: a call alone waits for one short transaction, a hundred share one.

The thread is a real one (see `native`) with a database connection of its own, outside any pool. A batch that fails is
taken apart, so one poisonous statement does not take the others with it. While the database is away, each statement
is told so and decides what becomes of it.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from django.db import DEFAULT_DB_ALIAS, InterfaceError, OperationalError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from keys import native

logger = logging.getLogger(__name__)

MAX_BATCH = 500
AWAY = (OperationalError, InterfaceError)


class Books(Protocol):
    """What the statements of one transaction share: opened before the first, closed after the last."""

    def close(self) -> None:
        """Write what the statements left to be written together."""


class Statement(Protocol):
    """Something to write. Both methods are called in the writer's thread."""

    def execute(self, books: Any) -> Exception | None:
        """Write it, inside the batch's transaction. Return what only its submitter is to be told.

        May be called again after a failed attempt: must be idempotent.
        """

    def give_up(self, error: Exception) -> Exception | None:
        """The database does not take it. Return the error for its submitter, or None if it is safe elsewhere."""


class Ticket:
    """A submitted statement and the signal of its end."""

    __slots__ = ("abandoned", "error", "signal", "statement")

    def __init__(self, statement: Statement) -> None:
        self.statement = statement
        self.signal = native.signal()
        self.error: Exception | None = None
        self.abandoned = False

    def wait(self, timeout: float) -> bool:
        """Whether the writer is done with it in time. Raise what went wrong."""
        if not self.signal.wait(timeout):
            return False
        if self.error is not None:
            raise self.error
        return True


class GroupCommit:
    """The writer of one process. Starts with the first statement, in whatever process that comes (workers fork)."""

    def __init__(
        self,
        *,
        open_books: Callable[[list[Any], BaseDatabaseWrapper], Books],
        chores: Callable[[], None],
        chore_every_s: float,
    ) -> None:
        self._open_books = open_books
        self._chores = chores
        self._chore_every_s = chore_every_s
        self._lock = threading.Lock()
        self._pid = 0

    def submit(self, statement: Statement) -> Ticket:
        """Queue a statement. It is written in the order in which it came, together with its neighbours."""
        self.start()
        ticket = Ticket(statement)
        self._queue.put(ticket)
        return ticket

    def start(self) -> None:
        """Start the thread unless it runs in this process."""
        if self._pid == os.getpid():
            return
        with self._lock:
            if self._pid != os.getpid():
                self._queue = native.simple_queue()
                self._stopped = native.signal()
                native.run_in_thread(self._run)
                self._pid = os.getpid()

    def close(self, timeout: float = 10.0) -> bool:
        """Write what waits, then end the thread. Return whether it ended in time. May be called twice."""
        if self._pid != os.getpid():
            return True
        self._queue.put(None)
        ended = self._stopped.wait(timeout)
        self._pid = 0
        return ended

    # ---- in the writer's thread

    def _run(self) -> None:
        connection = _own_connection()
        next_chore = 0.0
        running = True
        while running:
            batch, running = self._next_batch(max(0.0, next_chore - time.monotonic()))
            if batch:
                self._write(batch, connection)
            if running and time.monotonic() >= next_chore:
                self._do_chores(connection)
                next_chore = time.monotonic() + self._chore_every_s
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
        except native.QueueEmpty:
            return batch, True
        return batch, False

    def _write(self, batch: list[Ticket], connection: BaseDatabaseWrapper) -> None:
        batch = [ticket for ticket in batch if not ticket.abandoned]
        try:
            self._commit(batch, connection)
        except AWAY as error:
            _give_up(batch, error)
        except Exception:  # the thread must not die, and the others of the batch are innocent
            for ticket in batch:
                self._write_alone(ticket, connection)
        native.set_all(ticket.signal for ticket in batch)

    def _write_alone(self, ticket: Ticket, connection: BaseDatabaseWrapper) -> None:
        try:
            self._commit([ticket], connection)
        except Exception as error:  # as above
            logger.exception("The ledger could not write a statement")
            _give_up([ticket], error)

    def _commit(self, batch: list[Ticket], connection: BaseDatabaseWrapper) -> None:
        """Write a batch in one transaction. A connection that had gone stale is replaced, once."""
        was_open = connection.connection is not None
        try:
            self._transact(batch, connection)
        except AWAY:
            connection.close()
            if not was_open:
                raise
            self._transact(batch, connection)

    def _transact(self, batch: list[Ticket], connection: BaseDatabaseWrapper) -> None:
        with transaction.atomic():
            books = self._open_books([ticket.statement for ticket in batch], connection)
            for ticket in batch:
                ticket.error = ticket.statement.execute(books)
            books.close()

    def _do_chores(self, connection: BaseDatabaseWrapper) -> None:
        try:
            self._chores()
        except AWAY:
            connection.close()  # tried again at the next turn
        except Exception:  # the thread must not die
            logger.exception("A chore of the ledger failed")


def _own_connection() -> BaseDatabaseWrapper:
    """A connection for this thread alone. A pool's locks are greenlets' locks: a real thread keeps away from them."""
    connection = connections.create_connection(DEFAULT_DB_ALIAS)
    options = {name: value for name, value in connection.settings_dict["OPTIONS"].items() if name != "pool"}
    connection.settings_dict = {**connection.settings_dict, "OPTIONS": options, "CONN_MAX_AGE": None}
    connections[DEFAULT_DB_ALIAS] = connection
    return connection


def _give_up(batch: list[Ticket], error: Exception) -> None:
    for ticket in batch:
        ticket.error = ticket.statement.give_up(error)
