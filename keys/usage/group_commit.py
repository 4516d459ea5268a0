"""
Group commit: one writer thread per process commits what is queued, so that many requests share one transaction.

The thread is an OS thread (see `lib.threads`) with a dedicated database connection, outside any pool. A batch that
fails is split, so that one invalid statement does not fail the others. While the database is unavailable, every
statement is abandoned immediately and decides what happens to its data; none waits for a response that may never come.
An outage ends when the database accepts a write. Chores fail alone: neither a statement nor an outage waits for them.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Protocol

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from keys.usage.outage import PROBE_INTERVAL_S, Outage
from keys.usage.write_errors import is_outage
from lib import threads
from lib.threads import OncePerProcess

logger = logging.getLogger(__name__)

PREPARED_AFTER = 5
"""Executions until psycopg prepares a statement by itself. Django turns preparing off, which `lib.direct_sql` needs."""
MAX_BATCH = 200  # a larger batch would lock the rows of its budgets for longer than other writers should wait


class Statement(Protocol):
    """Something to write. The writer's thread calls both methods."""

    error: Exception | None
    """What its submitter gets although the batch was committed. Set while the batch is written."""

    def abandon(self, error: Exception, *, is_in_doubt: bool) -> Exception | None:
        """Handle a failed write. Return the error for the submitter, or None if the data is safe elsewhere.

        In doubt, the database did not respond: it may have committed the statement, or may still do so.
        """

    def committed_after_abandon(self) -> None:
        """Handle a commit whose submitter has abandoned the statement in the meantime."""


Write = Callable[[list[Any], BaseDatabaseWrapper], None]
"""Writes the statements of a batch, all or none. May be called again after a failed attempt: must be idempotent."""
Chore = Callable[[], bool]
"""Periodic work with the database, in slices of less than DATABASE_TIMEOUT_S. Returns whether there is more."""


class Ticket:
    """A submitted statement and the signal of its completion."""

    def __init__(self, statement: Statement) -> None:
        self.statement = statement
        self.signal = threads.coarse_signal()
        self._error: Exception | None = None
        self._undecided = [True]  # the side that takes it out decides: `pop` is atomic in every kind of thread

    def wait(self, timeout: float) -> bool:
        """Return whether the writer finished in time. Raise the statement's error."""
        if not self.signal.wait(timeout):
            return False
        self._raise_error()
        return True

    def abandon(self) -> bool:
        """Abandon the statement; the writer undoes it. Return False if the writer has finished; raise its error."""
        if self._decide():
            return True
        self._raise_error()
        return False

    @property
    def is_abandoned(self) -> bool:
        """Only meaningful in the writer's thread, before it finishes the ticket."""
        return not self._undecided

    def finish(self, error: Exception | None) -> bool:
        """Record the result. Return whether the submitter has not abandoned the statement."""
        self._error = error
        return self._decide()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _decide(self) -> bool:
        try:
            return self._undecided.pop()
        except IndexError:
            return False


class GroupCommit:
    """The writer of one process. Starts with the first statement, after any fork."""

    def __init__(
        self,
        write_batch: Write,
        *,
        chores: Mapping[str, Chore],
        check: Callable[[], None],
        flush: Callable[[], None],
        chore_interval_s: float,
    ) -> None:
        self._write_batch = write_batch
        self._chores = chores
        """By their names in the log. They run first after an outage."""
        self._check = check
        """Raises an error if the database accepts no statement."""
        self._flush = flush
        """Saves the data of abandoned statements: immediately, and repeatedly during an outage."""
        self._chore_interval_s = chore_interval_s
        self._thread = OncePerProcess(self._start_thread)
        self._outage: Outage | None = None
        self._available_since = -math.inf
        self._unfinished: list[str] = []
        """Chores that run again as soon as the queued statements are written."""
        self._busy_since: float | None = None
        self._writing: list[Ticket] = []
        """The current batch."""

    @property
    def available_for_s(self) -> float:
        """The time since the last outage; infinite without one."""
        return time.monotonic() - self._available_since

    @property
    def is_unavailable(self) -> bool:
        """Whether the database is unavailable, or the current batch takes so long that nothing should be queued."""
        if not self._thread.is_started:
            return False
        busy_since = self._busy_since
        return self._outage is not None or (
            busy_since is not None and time.monotonic() - busy_since > settings.DATABASE_TIMEOUT_S
        )

    def submit(self, statement: Statement) -> Ticket:
        """Queue a statement. Statements are written in the order of submission."""
        self._thread.ensure()
        ticket = Ticket(statement)
        self._gathering.add(ticket)
        return ticket

    def write(self, statement: Statement) -> bool:
        """Submit a statement and wait for its commit while the database responds. Raise the statement's error.

        Return False if the database does not respond: the statement is abandoned. A long queue is no reason for that.
        """
        ticket = self.submit(statement)
        while not ticket.wait(settings.DATABASE_TIMEOUT_S):
            if self.is_unavailable and ticket.abandon():
                return False
        return True

    def start(self) -> None:
        """Start the thread unless it runs in this process."""
        self._thread.ensure()

    def _start_thread(self) -> None:
        self._queue = threads.simple_queue()
        """Of lists of tickets, and None for the request to stop."""
        self._gathering = threads.Gathering(self._queue.put)
        self._next: list[Ticket] = []
        """Tickets of the queue beyond the size of a batch."""
        self._stopped = threads.signal()
        self._outage = None
        self._busy_since = None
        self._unfinished = []
        self._writing = []
        threads.run_in_thread(self._run)

    def close(self, timeout: float = 10.0) -> bool:
        """Write what is queued, then stop the thread. Return whether it stopped in time. May be called twice.

        If it did not, the statements are abandoned: they may be committed later, or never.
        """
        if not self._thread.is_started:
            return True
        self._gathering.flush()
        self._queue.put(None)
        stopped = self._stopped.wait(timeout)
        self._thread.reset()
        if not stopped:
            self._abandon(
                [*self._writing, *self._next, *self._drained()], TimeoutError("the process ends"), is_in_doubt=True
            )
        return stopped

    def _drained(self) -> Iterator[Ticket]:
        """Yield the tickets in the queue, and leave the request to stop there."""
        with suppress(threads.QueueEmpty):
            while True:
                yield from self._queue.get_nowait() or ()
        self._queue.put(None)

    # ---- In the writer's thread.

    def _run(self) -> None:
        connection = dedicated_connection()
        chores_at = self._next_chores_at(connection)  # before the first statement
        running = True
        while running:
            batch, running = self._next_batch(max(0.0, chores_at - time.monotonic()))
            self._busy_since = time.monotonic()
            self._writing = batch
            if batch:
                self._commit(batch, connection)
            self._writing = []
            if running and time.monotonic() >= chores_at:
                chores_at = self._next_chores_at(connection)
            if self._outage is not None:
                chores_at = min(chores_at, time.monotonic() + PROBE_INTERVAL_S)
            self._busy_since = None
        if self._outage is not None:
            self._outage.abandon()
        connection.close()
        self._stopped.set_from_thread()

    def _next_batch(self, timeout_s: float) -> tuple[list[Ticket], bool]:
        """Return at most MAX_BATCH queued tickets, and False once `close` was called."""
        batch, self._next = self._next, []
        running = True
        try:
            while len(batch) < MAX_BATCH and running:
                tickets = self._queue.get_nowait() if batch else self._queue.get(timeout=timeout_s)
                if tickets is None:
                    running = False
                else:
                    batch += tickets
        except threads.QueueEmpty:
            pass
        if len(batch) > MAX_BATCH:
            batch, self._next = batch[:MAX_BATCH], batch[MAX_BATCH:]
        return batch, running

    def _commit(self, batch: list[Ticket], connection: BaseDatabaseWrapper) -> None:
        batch = [ticket for ticket in batch if not ticket.is_abandoned]
        if self._outage is not None:
            self._abandon(batch, self._outage.error)
            return
        is_in_doubt = False
        try:
            _connect(connection)
            is_in_doubt = True
            self._write_batch([ticket.statement for ticket in batch], connection)
        except Exception as error:  # the thread must not die
            if is_outage(error):
                self._start_outage(error, connection)  # first: a submitter that learns of it finds it
                self._abandon(batch, error, is_in_doubt=is_in_doubt)
            else:
                self._isolate(batch, error, connection)
        else:
            _finish(batch)

    def _isolate(self, batch: list[Ticket], error: Exception, connection: BaseDatabaseWrapper) -> None:
        """Halve a failed batch until the invalid statement is alone, and commit the others."""
        if len(batch) > 1:
            self._commit(batch[: len(batch) // 2], connection)
            self._commit(batch[len(batch) // 2 :], connection)
        else:
            logger.error("Ledger: statement could not be written", exc_info=error)
            self._abandon(batch, error)

    def _abandon(self, batch: list[Ticket], error: Exception, *, is_in_doubt: bool = False) -> None:
        errors = [_abandoned(ticket.statement, error, is_in_doubt=is_in_doubt) for ticket in batch]
        self._flush()
        for ticket, each in zip(batch, errors, strict=True):
            ticket.finish(each)
        threads.set_coarse_signals(ticket.signal for ticket in batch)

    # ---- Chores and outages.

    def _next_chores_at(self, connection: BaseDatabaseWrapper) -> float:
        """Run the chores that are due: all, or those with more to do. Return when the next ones are."""
        self._unfinished = self._run_chores(self._unfinished or list(self._chores), connection)
        self._busy_since = None
        return time.monotonic() + (0 if self._unfinished else self._chore_interval_s)

    def _run_chores(self, names: list[str], connection: BaseDatabaseWrapper) -> list[str]:
        """Run chores, unless there is an outage that continues. Return those with more to do."""
        if self._outage is not None:
            self._flush()
            if not self._outage.is_probe_successful or not self._accepts_writes(connection):
                return []
        unfinished = []
        for name in names:
            self._busy_since = time.monotonic()
            if self._run_chore(name, connection):
                unfinished.append(name)
            if self._outage is not None and not self._outage.is_probe_successful:
                return []
        if self._outage is not None:
            self._end_outage(self._outage)
        return unfinished

    def _run_chore(self, name: str, connection: BaseDatabaseWrapper) -> bool:
        """Run a chore. Its error starts an outage only if the database accepts no write; otherwise it runs again."""
        try:
            return self._chores[name]()
        except Exception as error:  # the thread must not die
            logger.exception("Ledger: %s failed", name)
            if is_outage(error):
                connection.close()
                self._accepts_writes(connection)
        return False

    def _accepts_writes(self, connection: BaseDatabaseWrapper) -> bool:
        """Return whether the database accepts a write. If not, an outage starts or continues."""
        try:
            _connect(connection)
            self._check()
        except Exception as error:  # such as a missing table: no record can be written either
            self._start_outage(error, connection)
            return False
        return True

    def _start_outage(self, error: Exception, connection: BaseDatabaseWrapper) -> None:
        connection.close()
        self._unfinished = []  # after the outage, all chores run
        if self._outage is None:
            self._outage = Outage(error, dedicated_connection)
        elif self._outage.is_probe_successful:
            self._outage.resume_probing()

    def _end_outage(self, outage: Outage) -> None:
        self._outage = None
        self._available_since = time.monotonic()
        outage.end()


def dedicated_connection() -> BaseDatabaseWrapper:
    """Return a connection for this thread alone.

    A connection pool uses the locks of greenlets, which an OS thread must not wait for.
    """
    connection = connections.create_connection(DEFAULT_DB_ALIAS)
    options = {name: value for name, value in connection.settings_dict["OPTIONS"].items() if name != "pool"}
    options |= {name: settings.DATABASE_TIMEOUT_S for name in ("answer_within_s", "timeout") if name in options}
    if connection.vendor == "postgresql":
        options["prepare_threshold"] = PREPARED_AFTER
    connection.settings_dict = {**connection.settings_dict, "OPTIONS": options, "CONN_MAX_AGE": None}
    connections[DEFAULT_DB_ALIAS] = connection
    return connection


def _connect(connection: BaseDatabaseWrapper) -> None:
    if connection.connection is not None and not connection.is_usable():
        connection.close()  # the server closed it
    connection.ensure_connection()


def _finish(batch: list[Ticket]) -> None:
    for ticket in batch:
        if not ticket.finish(ticket.statement.error):
            try:
                ticket.statement.committed_after_abandon()
            except Exception:  # the others of the batch are committed too
                logger.exception("Ledger: an abandoned statement could not be undone")
    threads.set_coarse_signals(ticket.signal for ticket in batch)


def _abandoned(statement: Statement, error: Exception, *, is_in_doubt: bool) -> Exception | None:
    """Abandon a statement. Return the error for its submitter."""
    try:
        return statement.abandon(error, is_in_doubt=is_in_doubt)
    except Exception as own:  # the others of the batch must not be lost with it
        logger.critical("Ledger: the data of a statement is lost", exc_info=own)
        return own
