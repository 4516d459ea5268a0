"""Time limit for queries: a page that reads too much ends with a sentence. Commands have no limit."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from django.db import DatabaseError, OperationalError, connection, transaction

DEFAULT_S = 5.0
"""The limit on SQLite. PostgreSQL has the connection's `statement_timeout` (`project/settings.py`)."""
INSTRUCTIONS = 50_000
"""Instructions of SQLite's virtual machine between two looks at the clock: about a millisecond."""

_QUERY_CANCELED = "57014"  # https://www.postgresql.org/docs/current/errcodes-appendix.html

_is_lifted = False


def lift() -> None:
    """Remove the limit in this process, which runs a command. Connections that exist already keep theirs."""
    global _is_lifted
    _is_lifted = True


def is_lifted() -> bool:
    return _is_lifted


class QueryTimeout(Exception):
    """The queries of a block took too long."""


@contextmanager
def limited(seconds: float = DEFAULT_S) -> Iterator[None]:
    """Raise QueryTimeout for a query of this block that exceeds the limit. The connection stays usable."""
    # Inside of a transaction, only a savepoint keeps it usable after a failed query.
    block = transaction.atomic() if connection.in_atomic_block else nullcontext()
    try:
        with block, _limit_of_sqlite(seconds):
            yield
    except DatabaseError as error:
        if _is_timeout(error):
            raise QueryTimeout from error
        raise


def _is_timeout(error: DatabaseError) -> bool:
    if getattr(error.__cause__, "sqlstate", None) == _QUERY_CANCELED:
        return True
    return isinstance(error, OperationalError) and str(error) == "interrupted"


@contextmanager
def _limit_of_sqlite(seconds: float) -> Iterator[None]:
    if _is_lifted or connection.vendor != "sqlite":
        yield
        return
    connection.ensure_connection()
    raw = connection.connection
    ends_at = time.monotonic() + seconds
    raw.set_progress_handler(lambda: time.monotonic() > ends_at, INSTRUCTIONS)
    try:
        yield
    finally:
        raw.set_progress_handler(None, 0)
