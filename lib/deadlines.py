"""Per-thread deadlines for database operations.

A stopped database server rejects connections immediately. A frozen server, or one behind a network that drops packets,
never responds, and its own timeouts have no effect: the client has to stop waiting. The PostgreSQL connections
(`project/postgresql`) read the remaining time here. SQLite is local and does not need it.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connections
from django.db.backends.signals import connection_created

_block = threading.local()


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Limit the time of all database operations in the block. After it, they raise OperationalError."""
    outer = getattr(_block, "ends_at", None)
    ends_at = time.monotonic() + seconds
    _block.ends_at = ends_at if outer is None else min(ends_at, outer)
    try:
        yield
    finally:
        _block.ends_at = outer


def remaining(default: float) -> float:
    """Return how long an operation may wait: the remaining time of the block, at most `default` seconds."""
    ends_at = getattr(_block, "ends_at", None)
    return default if ends_at is None else min(default, max(0.0, ends_at - time.monotonic()))


def release_connections() -> None:
    """Close the connections of this thread before a long wait: each occupies a slot of the worker's pool."""
    if not getattr(_block, "has_connected", False):
        return  # asking Django for the connections of the thread takes longer than most uses of this function
    remaining_connections = False
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            remaining_connections = True
        else:
            connection.close()
    _block.has_connected = remaining_connections


def _note_connection(**_: object) -> None:
    _block.has_connected = True


connection_created.connect(_note_connection, dispatch_uid="lib.deadlines")
