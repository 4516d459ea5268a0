"""What tests share: real parts, each skipped with its reason where it is missing, or failed if it must not be."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command

from keys import ledger
from keys.snapshots import cache
from messages_api.routing import routes
from tests.environment import STATE_DIR
from tests.gateway import Gateway, GatewayServer
from tests.upstream import ScriptedUpstream


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_xdist_suffix: None) -> None:
    """A file for SQLite: the ledger's thread and the gateway's process open the test database too."""
    from django.conf import settings

    if settings.DATABASES["default"]["ENGINE"].endswith("sqlite3"):
        worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
        settings.DATABASES["default"].setdefault("TEST", {})["NAME"] = str(Path(STATE_DIR) / f"test-{worker}.sqlite3")


@pytest.fixture
def owner(db: None) -> User:
    return User.objects.create_user("owner", password="a good password of the owner")


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as scripted:
        yield scripted


@pytest.fixture(scope="session")
def static_files() -> None:
    """What pages and the running gateway serve, collected once."""
    call_command("collectstatic", interactive=False, verbosity=0)


@pytest.fixture(scope="session")
def gateway_server(django_db_setup: None, static_files: None) -> Iterator[GatewayServer]:
    """A gateway as it ships, gunicorn and all, on the test database. One for the whole run."""
    with GatewayServer() as server:
        yield server


@pytest.fixture
def gateway(transactional_db: None, gateway_server: GatewayServer, upstream: ScriptedUpstream, owner: User) -> Gateway:
    """The running gateway with a key and a route `*` to the scripted upstream, in the OpenAI dialect."""
    return Gateway(gateway_server, upstream, owner)


@pytest.fixture
def quiet_ledger(transactional_db: None) -> Iterator[None]:
    """The ledger of this process, closed at the end: its connection must not outlive the test's database."""
    yield
    ledger.close()


@pytest.fixture(autouse=True)
def fresh_caches() -> None:
    cache.clear()
    routes.clear()
