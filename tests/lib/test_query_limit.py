"""Time limit for the queries of a page."""

import pytest
from django.db import DatabaseError, connection

from lib.query_limit import QueryTimeout, limited


def _slow() -> str:
    if connection.vendor == "sqlite":
        return "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    return "SET LOCAL statement_timeout = 50; SELECT pg_sleep(60)"


def _run(sql: str) -> object:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()


@pytest.mark.django_db
def test_a_query_that_takes_too_long_is_a_timeout_and_the_connection_stays_usable() -> None:
    with pytest.raises(QueryTimeout), limited(0.05):
        _run(_slow())

    assert _run("SELECT 1") == (1,)


@pytest.mark.django_db
def test_other_errors_pass_and_the_limit_ends_with_its_block() -> None:
    with limited(0.0):
        assert _run("SELECT 1") == (1,)
    with pytest.raises(DatabaseError, match="no_such_table"), limited():
        _run("SELECT * FROM no_such_table")

    counted = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) SELECT max(i) FROM n"
    assert _run(counted) == (100_000,)
