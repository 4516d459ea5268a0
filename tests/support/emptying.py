"""
Restores the database after a test, in a fraction of the time that Django's flush takes.

Flush recreates all content types, permissions and roles after each test that commits: a fifth of a second, and with new
IDs, which a gateway that runs on the same database does not expect. Here they stay, and the rest is deleted.
"""

from typing import Any

from django.db import IntegrityError, OperationalError, connection, transaction
from django.test import TransactionTestCase

KEPT = {"auth_permission", "django_content_type", "django_migrations"}
"""Tables that no test changes."""
RESTORED = ("auth_group", "auth_group_permissions", "staff_role")
"""Tables with rows in a new installation: the roles."""

CONFLICTS = 5

_rows: dict[str, list[tuple[Any, ...]]] = {}


def remember() -> None:
    """Store the rows of a new installation. To be called before the first test."""
    for table in RESTORED:
        _rows[table] = _read(table)


def empty(*args: object) -> None:
    """Delete all rows. Try again after a conflict with a gateway that still settles requests of the test.

    It may cause a deadlock, or add a row that refers to one that is deleted.
    """
    for _ in range(CONFLICTS):
        try:
            return _empty()
        except IntegrityError:
            continue
        except OperationalError as error:
            if "deadlock" not in str(error):
                raise
    _empty()


@transaction.atomic
def _empty() -> None:
    """Delete in one transaction: foreign keys are checked when it ends."""
    tables = set(connection.introspection.table_names()) - KEPT - set(RESTORED)
    with connection.cursor() as cursor:
        for table in sorted(tables):
            cursor.execute(f"DELETE FROM {connection.ops.quote_name(table)}")
        changed = [table for table in RESTORED if _read(table) != _rows[table]]
        for table in reversed(RESTORED if changed else ()):
            cursor.execute(f"DELETE FROM {connection.ops.quote_name(table)}")
        for table in RESTORED if changed else ():
            if rows := _rows[table]:
                values = ", ".join(["%s"] * len(rows[0]))
                cursor.executemany(f"INSERT INTO {connection.ops.quote_name(table)} VALUES ({values})", rows)


def _read(table: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)} ORDER BY id")
        return cursor.fetchall()


TransactionTestCase._fixture_teardown = empty  # type: ignore[attr-defined]
