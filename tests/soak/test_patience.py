"""PostgreSQL's connections give up on a server that does not answer, and are good again as soon as it does."""

import time
from collections.abc import Iterator

import pytest
from django.db import OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import ConnectionHandler

from lib import deadlines
from tests.soak.site import Site

pytestmark = pytest.mark.django_db


@pytest.fixture
def pooled(site: Site) -> Iterator[BaseDatabaseWrapper]:
    """A connection as a request has one."""
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
                "PORT": site.postgres.port,
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


def ask(connection: BaseDatabaseWrapper) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        row = cursor.fetchone()
    assert row is not None
    return int(row[0])


def test_a_frozen_server_is_given_up_in_time(site: Site, pooled: BaseDatabaseWrapper) -> None:
    assert ask(pooled) == 1
    site.postgres.freeze()
    try:
        begun = time.monotonic()
        with pytest.raises(OperationalError), deadlines.deadline(0.5):
            ask(pooled)
        took_s = time.monotonic() - begun
    finally:
        site.postgres.thaw()

    assert 0.5 <= took_s < 1.5
    pooled.close()
    assert ask(pooled) == 1


def test_the_inner_of_two_limits_holds_if_it_is_the_shorter_one() -> None:
    with deadlines.deadline(5):
        with deadlines.deadline(10):
            assert deadlines.left(60) <= 5
        with deadlines.deadline(1):
            assert deadlines.left(60) <= 1
        assert 4 < deadlines.left(60) <= 5
    assert deadlines.left(60) == 60


def test_connections_that_the_server_has_ended_are_not_handed_out(site: Site, pooled: BaseDatabaseWrapper) -> None:
    assert ask(pooled) == 1
    pooled.close()

    site.postgres.stop()
    site.postgres.start()

    assert ask(pooled) == 1


def test_a_transaction_that_lost_its_server_does_not_connect_anew_to_end(
    site: Site, pooled: BaseDatabaseWrapper
) -> None:
    ask(pooled)
    site.postgres.freeze()
    try:
        begun = time.monotonic()
        with pytest.raises(OperationalError), deadlines.deadline(0.3):
            pooled.set_autocommit(False)
            try:
                ask(pooled)
            finally:
                pooled.close()
                pooled.set_autocommit(True)
        took_s = time.monotonic() - begun
    finally:
        site.postgres.thaw()

    assert took_s < 1.5
