"""The gateway that is attacked: on PostgreSQL with two workers that share limits and circuits in Redis."""

from collections.abc import Iterator

import pytest
from django.db import connection

from tests.support.gateway import GatewayServer
from tests.support.real_servers import PATIENT_TIMEOUT_S
from tests.support.redis_server import RedisServer


@pytest.fixture(scope="package")
def gateway_server(
    django_db_setup: None, static_files: None, request: pytest.FixtureRequest
) -> Iterator[GatewayServer]:
    """A gateway under gunicorn as in production, on the test database. One for all attacks."""
    environment = {}
    if connection.vendor == "postgresql":
        redis: RedisServer = request.getfixturevalue("running_redis")
        environment = {
            "WEB_CONCURRENCY": "2",
            "REDIS_URL": redis.url,
            "REDIS_TIMEOUT_S": f"{PATIENT_TIMEOUT_S:g}",
        }
    with GatewayServer(**environment) as server:
        yield server
