"""
The table of usage records: plain, or on PostgreSQL partitioned by the month of `created_at` (UTC).

A partitioned table has a default partition for records of months without one, so that no write fails for a missing
partition. `create_coming` creates the partitions of the next months, and moves such records there.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import DatabaseError, connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone

from keys.models import UsageRecord

TABLE = UsageRecord._meta.db_table
DEFAULT = f"{TABLE}_default"
COMING_MONTHS = 3
LOCK_TIMEOUT = "500ms"
"""While a partition waits for the lock of the table, no request is admitted: give up soon, and try again later."""
INVALID_COLUMN_REFERENCE = "42P10"
"""SQLSTATE where ON CONFLICT names columns that no unique key has."""

_is_partitioned: bool | None = None


class NotPartitionable(Exception):
    """The table cannot be partitioned; the message says why."""


# ---- The form of the table, for the statement that writes records.


def is_partitioned(database: BaseDatabaseWrapper) -> bool:
    """Return whether the table is partitioned, as it was when this process read the catalog."""
    global _is_partitioned
    if _is_partitioned is None:
        _is_partitioned = read_form(database)
    return _is_partitioned


def is_of_other_form(error: DatabaseError) -> bool:
    """Return whether the table was partitioned since its form was read; it is then read again."""
    if getattr(error.__cause__, "sqlstate", None) != INVALID_COLUMN_REFERENCE:
        return False
    forget_form()
    return True


def forget_form() -> None:
    """Read the form of the table again before the next use."""
    global _is_partitioned
    _is_partitioned = None


def read_form(database: BaseDatabaseWrapper) -> bool:
    """Return whether the table is partitioned now."""
    if database.vendor != "postgresql":
        return False
    with database.cursor() as cursor:
        cursor.execute("SELECT relkind = 'p' FROM pg_class WHERE oid = to_regclass(%s)", [TABLE])
        found = cursor.fetchone()
    return bool(found and found[0])


# ---- Partitions.


def partition() -> list[str]:
    """Convert the plain table to monthly partitions, and return their names. Writes wait until it is done.

    In one transaction, which copies the records: an interruption changes nothing. Raise NotPartitionable.
    """
    if connection.vendor != "postgresql":
        raise NotPartitionable("Only PostgreSQL partitions tables.")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f'LOCK TABLE "{TABLE}" IN ACCESS EXCLUSIVE MODE')
        if read_form(connection):
            raise NotPartitionable("The usage records are partitioned already.")
        _check_references(cursor)
        indexes, constraints = _indexes(cursor), _foreign_keys(cursor)
        old = f"{TABLE}_plain"
        cursor.execute(f'ALTER TABLE "{TABLE}" RENAME TO "{old}"')
        cursor.execute(
            f'CREATE TABLE "{TABLE}" (LIKE "{old}" INCLUDING ALL EXCLUDING INDEXES) PARTITION BY RANGE (created_at)'
        )
        cursor.execute(f'CREATE TABLE "{DEFAULT}" PARTITION OF "{TABLE}" DEFAULT')
        cursor.execute(f"SELECT DISTINCT date_trunc('month', created_at, 'UTC') FROM \"{old}\"")
        months = {month.astimezone(UTC) for (month,) in cursor.fetchall()}
        names = [_create(cursor, month) for month in sorted(months.union(_coming(COMING_MONTHS)))]
        cursor.execute(f'INSERT INTO "{TABLE}" SELECT * FROM "{old}"')
        cursor.execute(f'DROP TABLE "{old}"')
        # After the copy: one scan each, instead of an entry and a check for each record.
        cursor.execute(f'ALTER TABLE "{TABLE}" ADD PRIMARY KEY (id, created_at)')
        for statement in [*indexes, *constraints]:
            cursor.execute(statement)
        cursor.execute(f'ANALYZE "{TABLE}"')
    forget_form()
    return names


def create_coming(months: int = COMING_MONTHS) -> list[str]:
    """Create the missing partitions of this month and the coming ones. Return their names.

    Does nothing for a plain table. May run in several processes at the same time.
    """
    if not read_form(connection):
        return []
    created = []
    for month in _coming(months):
        if not _exists(month):
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
                cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [TABLE])
                if not _exists(month):  # another process may have created it
                    _create_beside_default(cursor, month)
                    created.append(_name(month))
    return created


def _exists(month: datetime) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [_name(month)])
        return bool(cursor.fetchone()[0])


def _create_beside_default(cursor: Any, month: datetime) -> None:
    """Create the partition of a month. Records of this month that are in the default partition move there."""
    begin, end = month, _next_month(month)
    cursor.execute(f'LOCK TABLE "{TABLE}" IN ACCESS EXCLUSIVE MODE')
    cursor.execute(f'ALTER TABLE "{TABLE}" DETACH PARTITION "{DEFAULT}"')
    _create(cursor, month)
    cursor.execute(
        f'WITH moved AS (DELETE FROM "{DEFAULT}" WHERE created_at >= %s AND created_at < %s RETURNING *) '
        f'INSERT INTO "{TABLE}" SELECT * FROM moved',
        [begin, end],
    )
    cursor.execute(f'ALTER TABLE "{TABLE}" ATTACH PARTITION "{DEFAULT}" DEFAULT')


def _create(cursor: Any, month: datetime) -> str:
    name = _name(month)
    begin, end = (moment.isoformat() for moment in (month, _next_month(month)))
    cursor.execute(f"CREATE TABLE \"{name}\" PARTITION OF \"{TABLE}\" FOR VALUES FROM ('{begin}') TO ('{end}')")
    return name


def _name(month: datetime) -> str:
    return f"{TABLE}_{month:%Y_%m}"


def _coming(months: int) -> list[datetime]:
    """Return the first moment of this month and of the coming ones."""
    found = [timezone.now().astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)]
    for _ in range(months):
        found.append(_next_month(found[-1]))
    return found


def _next_month(month: datetime) -> datetime:
    return (month + timedelta(days=32)).replace(day=1)


# ---- The definition of the plain table.


def _check_references(cursor: Any) -> None:
    """Raise NotPartitionable if another table refers to records: their ID alone is no key of a partitioned table."""
    cursor.execute(
        "SELECT string_agg(conrelid::regclass::text, ', ') FROM pg_constraint "
        f"WHERE contype = 'f' AND confrelid = '\"{TABLE}\"'::regclass"
    )
    (tables,) = cursor.fetchone()
    if tables:
        raise NotPartitionable(f"Foreign keys refer to usage records: {tables}.")


def _indexes(cursor: Any) -> list[str]:
    """Return the statements that create the indexes of the table, without its primary key."""
    cursor.execute(
        "SELECT pg_get_indexdef(indexrelid) FROM pg_index "
        f"WHERE indrelid = '\"{TABLE}\"'::regclass AND NOT indisprimary ORDER BY indexrelid"
    )
    return [definition for (definition,) in cursor.fetchall()]


def _foreign_keys(cursor: Any) -> list[str]:
    cursor.execute(
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint "
        f"WHERE contype = 'f' AND conrelid = '\"{TABLE}\"'::regclass ORDER BY conname"
    )
    return [f'ALTER TABLE "{TABLE}" ADD CONSTRAINT "{name}" {definition}' for name, definition in cursor.fetchall()]
