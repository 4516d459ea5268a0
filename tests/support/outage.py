"""An outage of the database, as the ledger sees it."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction

from keys.models import UsageRecord


@contextmanager
def database_unavailable() -> Iterator[None]:
    """Rename the table of usage records, so that every statement of the writer fails as without a database."""
    table = UsageRecord._meta.db_table
    _rename(table, f"{table}_unavailable")
    try:
        yield
    finally:
        _rename(f"{table}_unavailable", table)


def _rename(old: str, new: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f'ALTER TABLE "{old}" RENAME TO "{new}"')


@contextmanager
def writes_held_up() -> Iterator[None]:
    """Hold a lock that every write of a usage record waits for. Reads succeed."""
    table = UsageRecord._meta.db_table
    lock = f'LOCK TABLE "{table}" IN EXCLUSIVE MODE'
    if connection.vendor == "sqlite":
        lock = f'DELETE FROM "{table}" WHERE FALSE'  # the lock of the whole database
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(lock)
        yield
