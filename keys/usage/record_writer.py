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
    values = [convert(row.get(name, default)) for row in batch for name, default, convert in _columns()]
    # SQLite has one writer, so open rows are read before. PostgreSQL returns it: an updated row has an xmax.
    were_open = _open_ids(batch, connection) if connection.vendor == "sqlite" else None
    with connection.cursor() as cursor:
        cursor.execute(_write_sql(len(batch), connection.vendor), values)
        written = cursor.fetchall()
    settling = {row["id"] for row in batch if row["status"] not in (Status.STARTED, Status.INTERRUPTED)}
    return {
        id: Written(
            was_open=id in were_open if were_open is not None else not is_new,
            interruption=_decoded(interruption) if id in settling else None,
        )
        for id, interruption, is_new in written
    }


def _open_ids(batch: Sequence[Row], connection: BaseDatabaseWrapper) -> set[str]:
    ids = [row["id"] for row in batch if row["status"] != Status.STARTED]
    if not ids:
        return set()
    with connection.cursor() as cursor:
        placeholders = ", ".join(["%s"] * len(ids))
        cursor.execute(
            f'SELECT "id" FROM "{_TABLE}" WHERE "status" = %s AND "id" IN ({placeholders})', [Status.STARTED, *ids]
        )
        return {id for (id,) in cursor.fetchall()}


def _decoded(interruption: str | Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    return json.loads(interruption) if isinstance(interruption, str) else interruption


@cache
def _write_sql(count: int, vendor: str) -> str:
    """Return the statement. An interruption stays on its record, for the operator and for the differences."""
    names = ", ".join(f'"{name}"' for name in _COLUMNS)
    placeholders = ", ".join("%s" for _ in _COLUMNS)
    rows = ", ".join([f"({placeholders})"] * count)
    closing = ", ".join(f'"{name}" = excluded."{name}"' for name in ["settled_at", "figures_checksum", *CLOSING])
    is_new = "NULL" if vendor == "sqlite" else "(xmax = 0)"
    return (
        f'INSERT INTO "{_TABLE}" ({names}) VALUES {rows} ON CONFLICT ("id") DO UPDATE SET {closing}, '
        f'"interruption" = COALESCE("{_TABLE}"."interruption", excluded."interruption") '
        f'WHERE "{_TABLE}"."status" = \'{Status.STARTED}\' OR ("{_TABLE}"."status" = \'{Status.INTERRUPTED}\' '
        f"AND excluded.\"status\" NOT IN ('{Status.STARTED}', '{Status.INTERRUPTED}')) "
        f'RETURNING "id", "interruption", {is_new}'
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
