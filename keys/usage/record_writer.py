"""
The statement that writes usage records: inserts new ones and settles those that are open or interrupted.

By hand, since Django's conversion of every column of every row takes five times as long as the database.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections, models
from django.db.backends.base.base import BaseDatabaseWrapper

from keys.models import UsageRecord
from keys.usage import record_table
from keys.usage.rows import CLOSING, Row, Status

CONVERTED = (models.DateTimeField, models.JSONField, models.GenericIPAddressField)
_COLUMNS = {item.attname: item for item in UsageRecord._meta.concrete_fields}
_TABLE = UsageRecord._meta.db_table


@dataclass(frozen=True, slots=True)
class Written:
    """What a written row replaced."""

    was_open: bool
    interruption: Mapping[str, Any] | None
    """What the request was counted as, if this settles a request that was settled as interrupted before."""


def write(batch: Sequence[Row], connection: BaseDatabaseWrapper) -> dict[str, Written]:
    """Write rows, all or none, in one statement. One row per request.

    A row closes an open record. A settlement also replaces the interruption of a record; another interruption does not.
    A record that is settled otherwise is not changed. Return what was written by request ID. A concurrent transaction
    that writes the same row is waited for, such as one of ours on an abandoned connection.

    One statement, since each round trip to the database costs a turn of the interpreter's lock, for which the threads
    of a busy worker wait.
    """
    values = [convert(row.get(name, default)) for row in map(_inserted, batch) for name, default, convert in _columns()]
    with connection.cursor() as cursor:
        cursor.execute(_write_sql(len(batch), record_table.is_partitioned(connection)), values)
        written = cursor.fetchall()
    settling = {row["id"] for row in batch if row["status"] not in (Status.STARTED, Status.INTERRUPTED)}
    return {
        id: Written(was_open=bool(was_open), interruption=_decoded(interruption) if id in settling else None)
        for id, interruption, was_open in written
    }


def _inserted(row: Row) -> Row:
    """Return the row as it is inserted. One that is settled already has no lease, which shows that it was not open."""
    return row if row["status"] == Status.STARTED else row | {"lease_expires_at": None}


def _decoded(interruption: str | Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    return json.loads(interruption) if isinstance(interruption, str) else interruption


@cache
def _write_sql(count: int, is_partitioned: bool) -> str:
    """Return the statement. An interruption stays on its record, for the operator and for the differences.

    The IDs of a partitioned table are unique together with the time. They begin with it, and a request keeps both.
    """
    names = ", ".join(f'"{name}"' for name in _COLUMNS)
    placeholders = ", ".join("%s" for _ in _COLUMNS)
    rows = ", ".join([f"({placeholders})"] * count)
    closing = ", ".join(f'"{name}" = excluded."{name}"' for name in ["settled_at", "figures_checksum", *CLOSING])
    key = '"id", "created_at"' if is_partitioned else '"id"'
    return (
        f'INSERT INTO "{_TABLE}" ({names}) VALUES {rows} ON CONFLICT ({key}) DO UPDATE SET {closing}, '
        f'"interruption" = COALESCE("{_TABLE}"."interruption", excluded."interruption") '
        f'WHERE "{_TABLE}"."status" = \'{Status.STARTED}\' OR ("{_TABLE}"."status" = \'{Status.INTERRUPTED}\' '
        f"AND excluded.\"status\" NOT IN ('{Status.STARTED}', '{Status.INTERRUPTED}')) "
        f'RETURNING "id", "interruption", "lease_expires_at" IS NOT NULL'
    )


Convert = Callable[[Any], Any]


@cache
def _columns() -> Sequence[tuple[str, Any, Convert]]:
    return [(name, item.get_default(), _conversion(item)) for name, item in _COLUMNS.items()]


def _conversion(column: "models.Field[Any, Any]") -> Convert:
    """Return the function that converts a value for the database driver."""
    if not isinstance(column, CONVERTED):
        return _unchanged
    return lambda value: column.get_db_prep_save(value, connections[DEFAULT_DB_ALIAS])


def _unchanged(value: Any) -> Any:
    return value
