"""
Where a scenario takes place: a PostgreSQL of its own, the lean upstream, and a gateway as it ships.

A site lasts for a whole run. Each scenario opens an installation on it, with a database and a state folder of its own.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Self

import psycopg
from psycopg.rows import dict_row

from tests.gateway import ROOT, GatewayServer
from tests.postgres import PostgresCluster
from tests.soak import callers
from tests.soak.callers import Visit
from tests.soak.orders import Order
from tests.soak.upstream import Served

Row = dict[str, Any]


class LeanUpstream:
    """The process of `upstream.py`."""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.soak.upstream"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=10)

    def calls(self) -> list[Served]:
        """All calls since they were last forgotten."""
        return [Served(**call) for call in self._get("/log")]

    def forget(self) -> None:
        self._get("/forget")

    def open_connections(self) -> int:
        return int(self._get("/open"))

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return json.load(answer)


class Gateway(GatewayServer):
    """A gateway whose log goes through a pipe, so that a limit on the size of its files does not silence it."""

    @contextlib.contextmanager
    def open_log(self) -> Iterator[IO[bytes]]:
        with self.log_path.open("ab") as file:
            writer = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=file)
        assert writer.stdin is not None
        with writer.stdin:
            yield writer.stdin

    def log(self) -> str:
        return self.log_path.read_text()


class Installation:
    """A gateway with its database. What it says of its calls is read here."""

    def __init__(self, site: "Site", database_url: str, folder: Path, environment: dict[str, str]) -> None:
        self.site = site
        self.keys = site.keys
        self.database_url = database_url
        self.state = folder
        self.gateway = Gateway(DATABASE_URL=database_url, STATE_DIR=str(folder), **environment)

    @property
    def port(self) -> int:
        return self.gateway.port

    @property
    def upstream(self) -> LeanUpstream:
        return self.site.upstream

    async def call(self, order: Order, *, after_s: float = 0.0, key: int = 0, **how: Any) -> Visit:
        """Make a call in a while, with one of the keys. `how` is what `callers.call` takes."""
        await asyncio.sleep(after_s)
        return await callers.call(self.port, self.keys[key], order, **how)

    def ledger(self) -> list[Row]:
        """All usage records."""
        with psycopg.connect(self.database_url, row_factory=dict_row) as connection:
            return connection.execute("SELECT * FROM keys_usagerecord ORDER BY id").fetchall()

    def count_started(self, ids: list[str] | None = None) -> int:
        """How many rows are open: all, or those of some calls."""
        query = "SELECT count(*) AS n FROM keys_usagerecord WHERE status = 'started'"
        with psycopg.connect(self.database_url, row_factory=dict_row) as connection:
            if ids is None:
                found = connection.execute(query).fetchone()
            else:
                found = connection.execute(query + " AND caller_request_id = ANY(%s)", [ids]).fetchone()
        assert found is not None
        return int(found["n"])

    def spooled(self) -> int:
        """How many rows wait in spools."""
        return sum(path.read_bytes().count(b"\n") for path in (self.state / "spool").glob("*.spool"))


class Site:
    """Lasts for a whole run. Raise PostgresMissing where there is no PostgreSQL to start."""

    def __init__(self) -> None:
        self.postgres = PostgresCluster()
        self._installations = 0

    def __enter__(self) -> Self:
        self._resources = contextlib.ExitStack()
        with contextlib.ExitStack() as resources:
            resources.callback(self.postgres.remove)
            self.postgres.start()
            self._folder = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="messages-gateway-soak-")))
            self.upstream = resources.enter_context(LeanUpstream())
            self._create("furnished", template="template0")
            self.keys = self._furnish()
            self._resources = resources.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def _url(self, database: str) -> str:
        return self.postgres.url.removesuffix("postgres") + database

    def _create(self, database: str, *, template: str) -> str:
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{database}" TEMPLATE "{template}"'.encode())
        return self._url(database)

    def _furnish(self) -> list[str]:
        environment = {
            **os.environ,
            "DATABASE_URL": self._url("furnished"),
            "DJANGO_SETTINGS_MODULE": "project.settings",
        }
        command = [sys.executable, "-m", "tests.soak.furnish", self.upstream.url]
        done = subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE)
        keys: list[str] = json.loads(done.stdout)
        return keys

    @contextlib.contextmanager
    def installation(self, **environment: str) -> Iterator[Installation]:
        """A running gateway with an empty ledger, and an upstream that has seen nothing."""
        self._installations += 1
        folder = self._folder / f"state-{self._installations}"
        (folder / "static").mkdir(parents=True)
        url = self._create(f"soak_{self._installations}", template="furnished")
        installation = Installation(self, url, folder, {"SNAPSHOT_TTL_S": "5", **environment})
        self.upstream.forget()
        with installation.gateway:
            yield installation
