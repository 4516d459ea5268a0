"""Shared fixtures. A real part that is missing skips its tests, or fails them where REQUIRE_REAL_PARTS=1."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from pytest_django import Settings

from keys.access.lookup_throttle import lookup_throttle
from keys.access.rejected_uses import rejected_uses
from keys.access.snapshot_cache import cache
from keys.pricing.price_book import prices
from keys.usage import ledger, reporting_zone
from messages_api.routing.model_catalog import catalogs
from messages_api.routing.route_table import routes
from tests import clients
from tests.support import emptying, environment
from tests.support.gateway import Gateway, GatewayServer
from tests.support.local_model import LocalModel, is_installed
from tests.support.missing import missing
from tests.upstream import ScriptedUpstream

pytest_plugins = ["tests.support.admin", "tests.support.real_servers"]

# Without it, each test client scans all static files before its first page.
settings.WHITENOISE_AUTOREFRESH = True


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-faults-table", action="store_true", help="write the results of tests/faults to tests/README.md"
    )
    parser.addoption(
        "--at-length", action="store_true", help="run tests that have a short and a long form in the long one"
    )


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that skipped any test where every real part is required."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if environment.REQUIRES_REAL_PARTS and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


LONGEST = (
    "tests/browser/test_all_pages.py",
    "tests/messages_api/openapi/test_openapi.py",
    "tests/project/test_make_run.py",
    "tests/messages_api/intake/test_bad_inputs.py",
    "tests/faults/",
    "tests/soak/",
)
TIMED = (
    "tests/attacks/test_busy_worker.py",
    "tests/attacks/test_floods.py",
    "tests/attacks/test_large_bodies.py",
    "tests/attacks/test_shared_limits.py",
    "tests/attacks/test_slow_clients.py",
    "tests/faults/",
    "tests/keys/limits/",
    "tests/soak/",
    "tests/messages_api/gateway/test_attempts.py",
    "tests/keys/budgets/test_budgets.py",
    "tests/messages_api/routing/test_circuit_breaker.py",
    "tests/keys/notifications/test_delivery.py",
    "tests/messages_api/gateway/test_detached.py",
    "tests/keys/access/test_revocation.py",
    "tests/keys/access/test_rotation.py",
    "tests/messages_api/routing/test_redis_circuits.py",
    "tests/messages_api/gateway/test_streams.py",
)
"""Tests with deadlines. They wait more than they compute, and run in a pass of their own on an idle machine."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "timed: has deadlines, and needs a machine that is not busy")


@pytest.hookimpl(wrapper=True, tryfirst=True)  # marks before `-m` selects, and distributes afterwards
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None]:
    for item in items:
        if item.nodeid.startswith(TIMED):
            item.add_marker("timed")
    yield
    items[:] = _distributed(items, processes=int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))


def _distributed(items: list[pytest.Item], *, processes: int) -> list[pytest.Item]:
    """Put long tests first in the share of each process: at the end, one process would run them while others idle."""
    groups = [[item for item in items if item.nodeid.startswith(prefix)] for prefix in LONGEST]
    rest = [item for item in items if not item.nodeid.startswith(LONGEST)]
    heads: list[list[pytest.Item]] = [[] for _ in range(processes)]
    for position, group in enumerate(filter(None, groups)):
        heads[position % processes] += group
    distributed: list[pytest.Item] = []
    for position, head in enumerate(heads):
        share = (len(items) - len(distributed)) // (processes - position)  # as xdist splits them
        taken = max(0, share - len(head))
        distributed += head + rest[:taken]
        rest = rest[taken:]
    return distributed + rest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the last log lines of a running gateway to the report of a test that failed with it."""
    report = yield
    if report.when == "call" and report.failed:
        for name, value in getattr(item, "funcargs", {}).items():
            if isinstance(value, Gateway):
                report.sections.append((f"log of {name}", value.server.log_path.read_text()[-4_000:]))
    return report


def pytest_runtest_setup(item: pytest.Item) -> None:
    if environment.missing_database:
        missing(environment.missing_database)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_xdist_suffix: None) -> None:
    """Put SQLite into a file, because the ledger's thread and the gateway's process open the test database too."""
    database = settings.DATABASES["default"]
    if database["ENGINE"].endswith("sqlite3"):
        worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
        database.setdefault("TEST", {})["NAME"] = str(Path(environment.STATE_DIR) / f"test-{worker}.sqlite3")


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> None:
    with django_db_blocker.unblock():
        emptying.remember()


@pytest.fixture
def owner(db: None) -> User:
    return User.objects.create_user("owner")  # without a password, whose hash takes a third of a second


@pytest.fixture
def client() -> Client:
    """A test client with a Host header, as HTTP/1.1 requires."""
    return Client(HTTP_HOST="testserver", raise_request_exception=False)


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as scripted:
        yield scripted


@pytest.fixture(scope="session")
def static_files() -> None:
    """Static files of pages and of the running gateway, collected once."""
    call_command("collectstatic", interactive=False, verbosity=0)


NPM_CI = ["npm", "ci", "--omit-lockfile-registry-resolved", "--no-audit", "--no-fund"]


@pytest.fixture(scope="session")
def npm_packages() -> None:
    """Node and its pinned packages, installed again when the lock file is newer."""
    for program in ("node", "npm"):
        if not shutil.which(program):
            missing(f"{program} is not installed")
    installed, locked = clients.FOLDER / "node_modules" / ".package-lock.json", clients.FOLDER / "package-lock.json"
    with locked.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes may install in parallel
        if not installed.exists() or installed.stat().st_mtime < locked.stat().st_mtime:
            installing = subprocess.run(NPM_CI, cwd=clients.FOLDER, capture_output=True, text=True)
            if installing.returncode:
                missing(f"npm packages could not be installed: {installing.stderr[-500:]}")


@pytest.fixture(scope="session")
def gateway_server(django_db_setup: None, static_files: None) -> Iterator[GatewayServer]:
    """A gateway under gunicorn as in production, on the test database. One for the whole run."""
    with GatewayServer() as server:
        SHARED_GATEWAYS.append(server)
        yield server
        SHARED_GATEWAYS.clear()


SHARED_GATEWAYS: list[GatewayServer] = []


@pytest.fixture(scope="module")
def without_gateway() -> Iterator[None]:
    """Stop the gateway that tests share: its periodic tasks do the same work in the same database."""
    for server in SHARED_GATEWAYS:
        server.stop()
    yield
    for server in SHARED_GATEWAYS:
        server.start()


@pytest.fixture
def gateway(transactional_db: None, gateway_server: GatewayServer, upstream: ScriptedUpstream, owner: User) -> Gateway:
    """The running gateway with a key and a route `*` to the scripted upstream, in the OpenAI dialect."""
    return Gateway(gateway_server, upstream, owner)


@pytest.fixture(scope="session")
def at_length(pytestconfig: pytest.Config) -> bool:
    """Whether tests that have a short and a long form run in the long one."""
    return bool(pytestconfig.getoption("at_length"))


@pytest.fixture(scope="session")
def local_model() -> Iterator[LocalModel]:
    if not is_installed():
        missing("the embedded model is not installed (requirements/local-model.txt)")
    with LocalModel() as model:
        yield model


@pytest.fixture
def real(gateway: Gateway, local_model: LocalModel) -> Gateway:
    """The running gateway with the embedded model as its upstream."""
    gateway.upstream_row.base_url = local_model.url
    gateway.upstream_row.save()
    return gateway


@pytest.fixture
def quiet_ledger(transactional_db: None, settings: Settings, tmp_path: Path) -> Iterator[None]:
    """Close the ledger of this process at the end: its connection must not outlive the test's database.

    Its spools have a folder of their own: a running gateway would replay them.
    """
    ledger.close()
    settings.STATE_DIR = tmp_path
    yield
    ledger.close()


@pytest.fixture(autouse=True)
def fresh_caches() -> None:
    cache.clear()
    lookup_throttle.clear()
    rejected_uses.clear()
    prices.clear()
    reporting_zone.reset()
    routes.clear()
    catalogs.clear()
