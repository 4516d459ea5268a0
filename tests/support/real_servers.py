"""Fixtures of real servers: Redis, a gateway that shares its limits in Redis, and a mail server."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from django.db import connection
from pytest_django import Settings

from tests.support.gateway import GatewayServer
from tests.support.missing import missing
from tests.support.receivers import Mailbox
from tests.support.redis_server import RedisMissing, RedisServer

PATIENT_TIMEOUT_S = 0.5  # a busy machine may take so long to respond without being unavailable


@pytest.fixture(scope="session")
def running_redis() -> Iterator[RedisServer]:
    """A Redis server for the whole run. Tests use `redis_server`, unless they pass its URL to another process."""
    try:
        server = RedisServer()
    except RedisMissing:
        missing("Redis is not installed")
    with server:
        yield server


@pytest.fixture
def redis_server(running_redis: RedisServer, settings: Settings) -> RedisServer:
    """An empty Redis server, configured in the settings."""
    running_redis.restore()
    running_redis.empty()
    settings.REDIS_URL = running_redis.url
    settings.REDIS_TIMEOUT_S = PATIENT_TIMEOUT_S
    return running_redis


@pytest.fixture(scope="module")
def shared_server(django_db_setup: None, static_files: None, running_redis: RedisServer) -> Iterator[GatewayServer]:
    """A gateway that counts in Redis, with two workers where the database supports several."""
    running_redis.restore()
    workers = "2" if connection.vendor == "postgresql" else "1"
    with GatewayServer(
        REDIS_URL=running_redis.url, REDIS_TIMEOUT_S=f"{PATIENT_TIMEOUT_S:g}", WEB_CONCURRENCY=workers
    ) as server:
        yield server


@pytest.fixture
def mailbox(settings: Settings) -> Iterator[Mailbox]:
    """A mail server, configured in the settings."""
    with Mailbox() as box:
        parts = urlsplit(box.url)
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = parts.hostname, parts.port
        yield box
