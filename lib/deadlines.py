"""
How long somebody waits for the database.

A server that is stopped refuses at once. One that is frozen, or behind a network that swallows what is sent, never
answers, and its own timeouts do not help: the one who asks has to give up. PostgreSQL's connections ask here how long
they may wait (`project/postgresql`); SQLite answers from this machine and knows no such silence.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connections

_block = threading.local()


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Let whatever waits for the database in this block fail with OperationalError once so much time has passed."""
    outer = getattr(_block, "ends_at", None)
    ends_at = time.monotonic() + seconds
    _block.ends_at = ends_at if outer is None else min(ends_at, outer)
    try:
        yield
    finally:
        _block.ends_at = outer


def left(otherwise: float) -> float:
    """How long a wait may take that begins now: the rest of the block, or `otherwise` outside of any."""
    ends_at = getattr(_block, "ends_at", None)
    return otherwise if ends_at is None else min(otherwise, max(0.0, ends_at - time.monotonic()))


def release_connections() -> None:
    """Let go of the connections of this thread before a long wait: each holds a slot of the worker's pool."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()
