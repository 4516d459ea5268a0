"""
The statements that add to hourly rollups and their latencies: one per table and transaction.

By hand, as `record_writer`. A rollup is found by its dimensions, so that no statement returns a row: on SQLite each
is a turn of the interpreter's lock.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from keys.models import HourlyLatency, HourlyUsage
from keys.models.usage import AMOUNT_COLUMNS, ROLLUP_DIMENSIONS, TOKEN_COLUMNS, part_names
from lib import direct_sql, sqlite_times

DIMENSIONS = ("api_key_id", "hour", *list(ROLLUP_DIMENSIONS)[1:])
COUNT_COLUMNS = (*TOKEN_COLUMNS, "web_searches")
"""Counts of usage records that are added up."""
MEASURES = (
    "requests",
    *COUNT_COLUMNS,
    "requests_without_usage",
    *(part for amount in AMOUNT_COLUMNS for part in part_names(amount)),
    "unpriced_requests",
    "client_errors",
    "requests_with_latency",
    "duration_ms",
)

DimensionValues = tuple[Any, ...]
Bucket = tuple[str, int]
"""A measure of latency, and the number of a bucket."""
MAX_ROWS = 16
"""Rows of a statement on SQLite: each number of rows is a prepared statement."""
_ROLLUPS, _LATENCIES = HourlyUsage._meta.db_table, HourlyLatency._meta.db_table
_HOUR = DIMENSIONS.index("hour")


def add(connection: BaseDatabaseWrapper, rollups: Sequence[tuple[DimensionValues, Sequence[int]]]) -> None:
    """Add measures to rollups, or insert them, in this order."""
    rows = [(*dimensions, *measures) for dimensions, measures in rollups]
    if connection.vendor == "postgresql":
        names = (*DIMENSIONS, *MEASURES)
        parameter = direct_sql.rows_as_json([dict(zip(names, row, strict=True)) for row in rows])
        direct_sql.execute(connection, _rollup_sql(0), [parameter])
    else:
        _execute_on_sqlite(connection, _rollup_sql, rows)


def add_latencies(connection: BaseDatabaseWrapper, latencies: Sequence[tuple[DimensionValues, str, int, int]]) -> None:
    """Add numbers of requests to buckets of rollups that exist, given by dimensions, measure and bucket."""
    if connection.vendor == "postgresql":
        parameter = direct_sql.rows_as_json(
            [(dict(zip(DIMENSIONS, dimensions, strict=True)), *rest) for dimensions, *rest in latencies]
        )
        direct_sql.execute(connection, _latency_sql(0), [parameter])
    else:
        _execute_on_sqlite(connection, _latency_sql, [(*dimensions, *rest) for dimensions, *rest in latencies])


def _execute_on_sqlite(connection: BaseDatabaseWrapper, sql: Any, rows: Sequence[tuple[Any, ...]]) -> None:
    rows = [(*row[:_HOUR], sqlite_times.to_text(row[_HOUR]), *row[_HOUR + 1 :]) for row in rows]
    for first in range(0, len(rows), MAX_ROWS):
        part = rows[first : first + MAX_ROWS]
        direct_sql.execute(connection, sql(len(part)), [value for row in part for value in row])


@cache
def _rollup_sql(count: int) -> str:
    """Return the statement for a number of rows; 0 for any number, as JSON on PostgreSQL."""
    names = (*DIMENSIONS, *MEASURES)
    source = _values(count, len(names)) if count else _from_json(names)
    return _upsert(_ROLLUPS, names, source, key=DIMENSIONS, added=MEASURES)


def _from_json(names: Iterable[str]) -> str:
    return f'SELECT {_quoted(names)} FROM json_populate_recordset(NULL::"{_ROLLUPS}", %s::json)'


@cache
def _latency_sql(count: int) -> str:
    """Return the statement for a number of rows; 0 for any number, as JSON on PostgreSQL."""
    key = ("hourly_usage_id", "measure", "bucket")
    if count:
        size = len(DIMENSIONS)
        is_same = " AND ".join(f'h."{name}" = v.column{number}' for number, name in enumerate(DIMENSIONS, 1))
        source = (
            f'SELECT h."id", v.column{size + 1}, v.column{size + 2}, v.column{size + 3} '
            f'FROM ({_values(count, size + 3)}) v JOIN "{_ROLLUPS}" h ON {is_same} WHERE true'
        )
    else:
        is_same = " AND ".join(f'h."{name}" = v."{name}"' for name in DIMENSIONS)
        source = (
            'SELECT h."id", e ->> 1, (e ->> 2)::smallint, (e ->> 3)::bigint FROM json_array_elements(%s::json) e '
            f'CROSS JOIN LATERAL json_populate_record(NULL::"{_ROLLUPS}", e -> 0) v JOIN "{_ROLLUPS}" h ON {is_same}'
        )
    return _upsert(_LATENCIES, (*key, "requests"), source, key=key, added=("requests",))


def _values(rows: int, columns: int) -> str:
    row = f"({', '.join(['?'] * columns)})"
    return f"VALUES {', '.join([row] * rows)}"


def _upsert(table: str, names: Iterable[str], source: str, *, key: Iterable[str], added: Iterable[str]) -> str:
    """Return the statement that inserts rows, or adds to the rows that have their key."""
    adding = ", ".join(f'"{name}" = "{table}"."{name}" + excluded."{name}"' for name in added)
    return f'INSERT INTO "{table}" ({_quoted(names)}) {source} ON CONFLICT ({_quoted(key)}) DO UPDATE SET {adding}'


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
