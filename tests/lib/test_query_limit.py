"""Time limit for the queries of a page."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.db import DatabaseError, connection

from lib.query_limit import QueryTimeout, limited
from tests.support import ROOT

IN_A_COMMAND = """
from django.db import connection
from lib.query_limit import limited
with limited(0.0), connection.cursor() as cursor:
    if connection.vendor == "postgresql":
        cursor.execute("SELECT current_setting('statement_timeout'), current_setting('lock_timeout')")
        assert cursor.fetchone() == ("0", "2s")
        cursor.execute("SELECT pg_sleep(6.5)")
    else:
        numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)"
        cursor.execute(numbers + "SELECT max(i) FROM n")
print("done")
"""


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


def test_a_command_has_no_limit(tmp_path: Path) -> None:
    """The server's timeout is 5 s, and connections wait 6 s for a response: a table with many records needs more."""
    environment = {"DATABASE_URL": f"sqlite:///{tmp_path}/empty.sqlite3"} | os.environ
    line = [sys.executable, "manage.py", "shell", "--no-imports", "-c", IN_A_COMMAND]

    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)

    assert (done.returncode, done.stdout.strip()) == (0, "done"), done.stderr


@pytest.mark.django_db
def test_connections_of_a_server_have_a_statement_timeout() -> None:
    if connection.vendor == "postgresql":
        assert _run("SHOW statement_timeout") == ("5s",)
