"""Timeouts of PostgreSQL connections to a server that does not respond, and their recovery."""

import time
from collections.abc import Iterator

import pytest
from django.db import OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import ConnectionHandler

from lib import deadlines
from tests.soak.host import Host

pytestmark = pytest.mark.django_db


@pytest.fixture
def pooled(host: Host) -> Iterator[BaseDatabaseWrapper]:
    """Return a connection with the options of a request's."""
    options = {
        "connect_timeout": 2,
        "answer_within_s": 6.0,
        "pool": {"min_size": 1, "max_size": 4, "timeout": 5.0, "reconnect_timeout": 0.5},
    }
    handler = ConnectionHandler(
        {
            "default": {
                "ENGINE": "project.postgresql",
                "HOST": "127.0.0.1",
                "PORT": host.postgres.port,
                "USER": "gateway",
                "NAME": "postgres",
                "OPTIONS": options,
            }
        }
    )
    connection = handler["default"]
    yield connection
    connection.close()
    connection.close_pool()  # type: ignore[attr-defined]


def query(connection: BaseDatabaseWrapper) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        row = cursor.fetchone()
    assert row is not None
    return int(row[0])


def test_a_frozen_server_times_out(host: Host, pooled: BaseDatabaseWrapper) -> None:
    assert query(pooled) == 1
    host.postgres.freeze()
    try:
        started_at = time.monotonic()
        with pytest.raises(OperationalError), deadlines.deadline(0.5):
            query(pooled)
        took_s = time.monotonic() - started_at
    finally:
        host.postgres.thaw()

    assert 0.5 <= took_s < 1.5
    pooled.close()
    assert query(pooled) == 1


def test_the_shorter_of_two_nested_deadlines_applies() -> None:
    with deadlines.deadline(5):
        with deadlines.deadline(10):
            assert deadlines.remaining(60) <= 5
        with deadlines.deadline(1):
            assert deadlines.remaining(60) <= 1
        assert 4 < deadlines.remaining(60) <= 5
    assert deadlines.remaining(60) == 60


def test_connections_closed_by_the_server_are_not_reused(host: Host, pooled: BaseDatabaseWrapper) -> None:
    assert query(pooled) == 1
    pooled.close()

    host.postgres.stop()
    host.postgres.start()

    assert query(pooled) == 1


def test_a_transaction_without_a_server_does_not_reconnect_to_end(host: Host, pooled: BaseDatabaseWrapper) -> None:
    query(pooled)
    host.postgres.freeze()
    try:
        started_at = time.monotonic()
        with pytest.raises(OperationalError), deadlines.deadline(0.3):
            pooled.set_autocommit(False)
            try:
                query(pooled)
            finally:
                pooled.close()
                pooled.set_autocommit(True)
        took_s = time.monotonic() - started_at
    finally:
        host.postgres.thaw()

    assert took_s < 1.5
