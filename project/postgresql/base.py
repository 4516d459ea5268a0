"""
Django's backend for PostgreSQL, with connections that stop waiting for a server that does not respond.

The database setting ENGINE names this package; Django requires the module name `base`.
"""

import select
from typing import Any, Self, TypeVar

import psycopg
from django.db.backends.postgresql import base
from django.db.backends.postgresql.psycopg_any import IsolationLevel
from gevent import monkey
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus

from lib import deadlines

Result = TypeVar("Result")


class DeadlineConnection(psycopg.Connection[Any]):
    """A connection with a time limit for each response: `answer_within_s`, or less within a deadline."""

    answer_within_s: float

    @classmethod
    def connect(cls, conninfo: str = "", *, answer_within_s: float, **parameters: Any) -> Self:  # type: ignore[override]
        connection = super().connect(conninfo, **parameters)
        connection.answer_within_s = answer_within_s
        return connection

    def wait(self, gen: PQGen[Result], interval: float = 0.1, timeout: float | None = None) -> Result:
        limit = deadlines.remaining(self.answer_within_s)
        try:
            return super().wait(gen, interval, limit if timeout is None else min(limit, timeout))
        except psycopg.OperationalError:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.close()  # a late response would be read as the response to the next query
            raise

    @property
    def was_ended(self) -> bool:
        """Whether the server closed this idle connection. No query: an idle connection is readable only then."""
        if self.closed:
            return True
        poll = monkey.get_original("select", "poll")()
        poll.register(self.fileno(), select.POLLIN)
        return bool(poll.poll(0))


class DatabaseWrapper(base.DatabaseWrapper):
    def __init__(self, settings_dict: dict[str, Any], *arguments: Any, **named: Any) -> None:
        super().__init__(settings_dict, *arguments, **named)
        if pool := settings_dict["OPTIONS"].get("pool"):
            pool["connection_class"] = DeadlineConnection

    def get_new_connection(self, conn_params: dict[str, Any]) -> DeadlineConnection:
        """Return a connection. One from the pool is waited for within the deadline, and is not closed by the server."""
        self.isolation_level = IsolationLevel.READ_COMMITTED
        if not self.pool:
            return DeadlineConnection.connect(**conn_params)
        self.pool.open()
        while True:
            connection: DeadlineConnection = self.pool.getconn(timeout=deadlines.remaining(self.pool.timeout))
            if not connection.was_ended:
                return connection
            connection.close()
            self.pool.putconn(connection)

    def set_autocommit(self, autocommit: bool, *arguments: Any, **named: Any) -> None:
        if autocommit and self.connection is None:
            return  # the connection ended in a transaction: Django would open a new one just to set this
        super().set_autocommit(autocommit, *arguments, **named)

    def is_usable(self) -> bool:
        return self.connection is not None and not self.connection.was_ended
