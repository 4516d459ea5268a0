"""
Statements by hand, executed by the database driver: without Django's conversion of the statement and of each value.

For the ledger, whose statements are few and known. A statement is prepared once per connection, so its text must not
vary with its values: a list of rows is one parameter, as JSON. Errors are those of Django.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import psycopg
from django.db.backends.base.base import BaseDatabaseWrapper

encode_json = msgspec.json.Encoder().encode


def execute(connection: BaseDatabaseWrapper, sql: str, parameters: Sequence[Any]) -> int:
    """Execute a statement, with the placeholders of the driver. Return the number of rows that it wrote."""
    with connection.wrap_database_errors:
        return int(_cursor(connection, sql, parameters).rowcount)


def fetch(connection: BaseDatabaseWrapper, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Execute a statement, with the placeholders of the driver. Return the rows that it returns."""
    with connection.wrap_database_errors:
        rows: list[tuple[Any, ...]] = _cursor(connection, sql, parameters).fetchall()
        return rows


def rows_as_json(rows: Sequence[Any]) -> str:
    """Return rows as the value of a parameter."""
    return encode_json(rows).decode()


def _cursor(connection: BaseDatabaseWrapper, sql: str, parameters: Sequence[Any]) -> Any:
    if connection.queries_logged or connection.execute_wrappers:
        cursor = connection.cursor()
        cursor.execute(sql.replace("?", "%s"), parameters)
        return cursor
    connection.validate_no_broken_transaction()
    connection.ensure_connection()
    if connection.vendor == "sqlite":
        return connection.connection.execute(sql, parameters)
    return psycopg.Cursor(connection.connection).execute(sql, parameters, prepare=True)
