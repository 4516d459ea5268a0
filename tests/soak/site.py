"""
Where a scenario takes place: a PostgreSQL of its own, the lean upstream, and a gateway as it ships.

A site lasts for a whole run. Each scenario opens an installation on it, with a database and a state folder of its own.
"""

import asyncio
import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Protocol, Self

import psycopg
from psycopg.rows import dict_row

from tests.soak import callers
from tests.soak.callers import Visit
from tests.soak.orders import Order
from tests.soak.upstream import Served
from tests.support import ROOT
from tests.support.gateway import GatewayServer
from tests.support.postgres import PostgresCluster

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

    def __init__(self, **environment: str) -> None:
        super().__init__(**environment)
        self._pipes: list[subprocess.Popen[bytes]] = []

    def __exit__(self, *exc_info: object) -> None:
        super().__exit__(*exc_info)
        for pipe in self._pipes:
            pipe.wait(30)  # it ends with the last process that writes to it

    @contextlib.contextmanager
    def open_log(self) -> Iterator[IO[bytes]]:
        with self.log_path.open("ab") as file:
            pipe = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=file)
        self._pipes.append(pipe)
        assert pipe.stdin is not None
        with pipe.stdin:
            yield pipe.stdin

    def log(self) -> str:
        return self.log_path.read_text()


class Database(Protocol):
    """A database of an installation, read from outside of the gateway."""

    url: str

    def rows(self, query: str, *values: object) -> list[Row]: ...


class PostgresDatabase:
    def __init__(self, url: str) -> None:
        self.url = url

    def rows(self, query: str, *values: object) -> list[Row]:
        with psycopg.connect(self.url, row_factory=dict_row, autocommit=True) as connection:
            cursor = connection.execute(query.encode(), values)
            return cursor.fetchall() if cursor.description else []


class SqliteDatabase:
    def __init__(self, path: Path) -> None:
        self.url = f"sqlite:///{path}"
        self._path = path

    def rows(self, query: str, *values: object) -> list[Row]:
        with contextlib.closing(sqlite3.connect(self._path)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(query.replace("%s", "?"), values)]


class Installation:
    """A gateway with its database. What it says of its calls is read here."""

    def __init__(
        self, site: "Site", database: Database, keys: list[str], folder: Path, environment: dict[str, str]
    ) -> None:
        self.site = site
        self.database = database
        self.keys = keys
        self.state = folder
        self.gateway = Gateway(DATABASE_URL=database.url, STATE_DIR=str(folder), **environment)

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
        return self.database.rows("SELECT * FROM keys_usagerecord ORDER BY id")

    def count_started(self) -> int:
        """How many rows are open."""
        (row,) = self.database.rows("SELECT count(*) AS n FROM keys_usagerecord WHERE status = 'started'")
        return int(row["n"])

    async def all_settled(self, *, within_s: float) -> None:
        """Wait until no row is open. What is still open then, is for the books to say."""
        deadline = time.monotonic() + within_s
        while self.count_started() and time.monotonic() < deadline:
            await asyncio.sleep(0.2)

    def spooled(self) -> int:
        """How many rows wait in spools."""
        return sum(path.read_bytes().count(b"\n") for path in (self.state / "spool").glob("*.spool"))


class Site:
    """Lasts for a whole run. Raise PostgresMissing where there is no PostgreSQL to start."""

    def __init__(self, *, fsync: bool = False) -> None:
        self.postgres = PostgresCluster(fsync=fsync)
        self._installations = 0
        self._sqlite: tuple[Path, list[str]] | None = None

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as resources:
            resources.callback(self.postgres.remove)
            self.postgres.start()
            self._folder = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="messages-gateway-soak-")))
            self.upstream = resources.enter_context(LeanUpstream())
            self._keys = self._furnish(self._create("furnished", template="template0"))
            self._resources = resources.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def _create(self, database: str, *, template: str) -> PostgresDatabase:
        server = PostgresDatabase(self.postgres.url)
        server.rows(f'CREATE DATABASE "{database}" TEMPLATE "{template}"')
        # The name is for pg_stat_activity.
        return PostgresDatabase(f"{self.postgres.url.removesuffix('postgres')}{database}?application_name={database}")

    def _create_sqlite(self, folder: Path) -> tuple[SqliteDatabase, list[str]]:
        if self._sqlite is None:
            template = self._folder / "furnished.sqlite3"
            self._sqlite = template, self._furnish(SqliteDatabase(template))
        template, keys = self._sqlite
        return SqliteDatabase(Path(shutil.copy(template, folder / "gateway.sqlite3"))), keys

    def _furnish(self, database: Database) -> list[str]:
        environment = os.environ | {
            "DATABASE_URL": database.url,
            "DJANGO_SETTINGS_MODULE": "project.settings",
            "STATE_DIR": str(self._folder),
        }
        command = [sys.executable, "-m", "tests.soak.furnish", self.upstream.url]
        done = subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE)
        keys: list[str] = json.loads(done.stdout)
        return keys

    @contextlib.contextmanager
    def installation(self, *, sqlite: bool = False, **environment: str) -> Iterator[Installation]:
        """A running gateway with an empty ledger, and an upstream that has seen nothing."""
        self._installations += 1
        folder = self._folder / f"state-{self._installations}"
        folder.mkdir()
        (folder / "static").symlink_to(self._folder / "static")
        database: Database
        if sqlite:
            database, keys = self._create_sqlite(folder)
        else:
            database, keys = self._create(f"soak_{self._installations}", template="furnished"), self._keys
        installation = Installation(self, database, keys, folder, {"CONFIG_CACHE_TTL_S": "5", **environment})
        self.upstream.forget()
        with installation.gateway:
            try:
                yield installation
            finally:
                if not self.postgres.is_running():
                    self.postgres.start()
