"""
The statement that writes usage records: inserts new ones and settles those that are open or interrupted.

By hand, since Django's conversion of every column of every row takes five times as long as the database.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

from keys.models import UsageRecord
from keys.usage import record_table
from keys.usage.rows import CLOSING, Row, Status
from lib import direct_sql, sqlite_times

MAX_ROWS = 16
"""Rows of a statement on SQLite: each number of rows is a prepared statement, which takes a kilobyte per row."""
_COLUMNS = {item.attname: item for item in UsageRecord._meta.concrete_fields}
_NAMES = tuple(_COLUMNS)
_DEFAULTS = {name: item.get_default() for name, item in _COLUMNS.items()}
_TABLE = UsageRecord._meta.db_table


@dataclass(frozen=True, slots=True)
class Written:
    """What a written row replaced."""

    was_open: bool
    interruption: Mapping[str, Any] | None
    """What the request was counted as, if this settles a request that was settled as interrupted before."""


OPEN = Written(was_open=True, interruption=None)


def write(batch: Sequence[Row], connection: BaseDatabaseWrapper) -> dict[str, Written]:
    """Write rows, all or none. One row per request.

    A row closes an open record. A settlement also replaces the interruption of a record; another interruption does not.
    A record that is settled otherwise is not changed. Return what was written by request ID. A concurrent transaction
    that writes the same row is waited for, such as one of ours on an abandoned connection.
    """
    written: list[Any] = []
    for sql, values in _statements([*map(_inserted, batch)], connection, is_expected=False):
        written += direct_sql.fetch(connection, sql, values)
    settling = {row["id"] for row in batch if row["status"] not in (Status.STARTED, Status.INTERRUPTED)}
    return {
        id: Written(was_open=bool(was_open), interruption=_decoded(interruption) if id in settling else None)
        for id, interruption, was_open in written
    }


def write_expected(batch: Sequence[Row], connection: BaseDatabaseWrapper) -> bool:
    """Write rows whose records are new or open. Return False if one is not: the transaction is to be rolled back.

    Returns no rows, since on SQLite each is a turn of the interpreter's lock, for which the threads of a busy worker
    wait.
    """
    statements = _statements(batch, connection, is_expected=True)
    return sum(direct_sql.execute(connection, sql, values) for sql, values in statements) == len(batch)


def _inserted(row: Row) -> Row:
    """Return the row as it is inserted. One that is settled already has no lease, which shows that it was not open."""
    return row if row["status"] == Status.STARTED else row | {"lease_expires_at": None}


def _decoded(interruption: str | Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    return json.loads(interruption) if isinstance(interruption, str) else interruption


# ---- Statements and their values.


def _statements(
    batch: Sequence[Row], connection: BaseDatabaseWrapper, *, is_expected: bool
) -> Iterator[tuple[str, Sequence[Any]]]:
    """Yield statements with the values of the rows: on PostgreSQL one, whose rows are one value, as JSON."""
    if connection.vendor == "postgresql":
        rows = [_DEFAULTS | row for row in batch]
        sql = _sql(0, is_partitioned=record_table.is_partitioned(connection), is_expected=is_expected)
        yield sql, [direct_sql.rows_as_json(rows)]
        return
    for first in range(0, len(batch), MAX_ROWS):
        part = batch[first : first + MAX_ROWS]
        values = [value for row in part for value in _values(row)]
        yield _sql(len(part), is_partitioned=False, is_expected=is_expected), values


@cache
def _sql(count: int, *, is_partitioned: bool, is_expected: bool) -> str:
    """Return the statement. An interruption stays on its record, for the operator and for the differences.

    The IDs of a partitioned table are unique together with the time. They begin with it, and a request keeps both.
    """
    names = ", ".join(f'"{name}"' for name in _NAMES)
    placeholders = ", ".join("?" for _ in _NAMES)
    if count:
        rows = "VALUES " + ", ".join([f"({placeholders})"] * count)
    else:
        rows = f'SELECT {names} FROM json_populate_recordset(NULL::"{_TABLE}", %s::json)'
    closing = ", ".join(f'"{name}" = excluded."{name}"' for name in ["settled_at", "figures_checksum", *CLOSING])
    key = '"id", "created_at"' if is_partitioned else '"id"'
    insert = f'INSERT INTO "{_TABLE}" ({names}) {rows} ON CONFLICT ({key}) DO UPDATE SET {closing}'
    is_open = f'"{_TABLE}"."status" = \'{Status.STARTED}\''
    if is_expected:
        return f"{insert} WHERE {is_open}"
    return (
        f'{insert}, "interruption" = COALESCE("{_TABLE}"."interruption", excluded."interruption") '
        f'WHERE {is_open} OR ("{_TABLE}"."status" = \'{Status.INTERRUPTED}\' '
        f"AND excluded.\"status\" NOT IN ('{Status.STARTED}', '{Status.INTERRUPTED}')) "
        f'RETURNING "id", "interruption", "lease_expires_at" IS NOT NULL'
    )


def _values(row: Row) -> list[Any]:
    """Return the values of a row for SQLite."""
    values = [*map(row.get, _NAMES, _DEFAULTS.values())]
    for position, convert in _CONVERSIONS:
        value = values[position]
        if value is not None:
            values[position] = convert(value)
    return values


def _as_json(value: Any) -> str:
    return direct_sql.encode_json(value).decode()


def _as_decimal(value: Decimal) -> str:
    return f"{value:f}"


_CONVERSION: dict[type, Callable[[Any], Any]] = {
    models.DateTimeField: sqlite_times.to_text,
    models.JSONField: _as_json,
    models.DecimalField: _as_decimal,
}
_CONVERSIONS = [
    (position, _CONVERSION[type(item)]) for position, item in enumerate(_COLUMNS.values()) if type(item) in _CONVERSION
]
"""The columns whose values SQLite's driver does not convert."""
