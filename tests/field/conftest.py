"""A gateway behind a trusted proxy: some clients of the field send `X-Forwarded-For`."""

from collections.abc import Iterator

import pytest

from tests.support.gateway import GatewayServer


@pytest.fixture(scope="package")
def gateway_server(django_db_setup: None, static_files: None) -> Iterator[GatewayServer]:
    with GatewayServer(TRUSTED_PROXIES="127.0.0.1") as server:
        yield server
