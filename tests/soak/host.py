"""Host of the soak tests: a PostgreSQL server, the lean upstream, and installations of the production gateway.

The host lasts for a whole run. Each scenario opens an installation on it, with its own database and state folder.
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

from tests.soak import clients
from tests.soak.clients import ClientResult
from tests.soak.request_plan import RequestPlan
from tests.soak.upstream import ServedRequest
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

    def requests(self) -> list[ServedRequest]:
        """Return all requests since the last `clear`."""
        return [ServedRequest(**request) for request in self._get("/log")]

    def clear(self) -> None:
        self._get("/clear")

    def open_connections(self) -> int:
        return int(self._get("/open"))

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=30) as response:
            return json.load(response)


class PipedGateway(GatewayServer):
    """A gateway whose log goes through a pipe, so that a limit on its file sizes does not affect the log."""

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
    """A database of an installation, read from outside the gateway."""

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
    """A gateway with its database."""

    def __init__(
        self, host: "Host", database: Database, keys: list[str], folder: Path, environment: dict[str, str]
    ) -> None:
        self.host = host
        self.database = database
        self.keys = keys
        self.state = folder
        self.gateway = PipedGateway(DATABASE_URL=database.url, STATE_DIR=str(folder), **environment)

    @property
    def port(self) -> int:
        return self.gateway.port

    @property
    def upstream(self) -> LeanUpstream:
        return self.host.upstream

    async def send(self, plan: RequestPlan, *, after_s: float = 0.0, key: int = 0, **how: Any) -> ClientResult:
        """Send a request after a delay, with one of the API keys. `how` are options of `clients.send`."""
        await asyncio.sleep(after_s)
        return await clients.send(self.port, self.keys[key], plan, **how)

    def ledger(self) -> list[Row]:
        """Return all usage records."""
        return self.database.rows("SELECT * FROM keys_usagerecord ORDER BY id")

    def count_started(self) -> int:
        """Return the number of open usage records."""
        (row,) = self.database.rows("SELECT count(*) AS n FROM keys_usagerecord WHERE status = 'started'")
        return int(row["n"])

    async def all_settled(self, *, within_s: float) -> None:
        """Wait until no usage record is open. The accounts report those that still are."""
        deadline = time.monotonic() + within_s
        while self.count_started() and time.monotonic() < deadline:
            await asyncio.sleep(0.2)

    def spooled(self) -> int:
        """Return the number of spooled records."""
        return sum(path.read_bytes().count(b"\n") for path in (self.state / "spool").glob("*.spool"))


class Host:
    """The servers of a whole run. Raise PostgresMissing if PostgreSQL is not installed."""

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
            self._keys = self._seed(self._create("seeded", template="template0"))
            self._resources = resources.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def _create(self, database: str, *, template: str) -> PostgresDatabase:
        server = PostgresDatabase(self.postgres.url)
        server.rows(f'CREATE DATABASE "{database}" TEMPLATE "{template}"')
        # The application name identifies the connections in pg_stat_activity.
        return PostgresDatabase(f"{self.postgres.url.removesuffix('postgres')}{database}?application_name={database}")

    def _create_sqlite(self, folder: Path) -> tuple[SqliteDatabase, list[str]]:
        if self._sqlite is None:
            template = self._folder / "seeded.sqlite3"
            self._sqlite = template, self._seed(SqliteDatabase(template))
        template, keys = self._sqlite
        return SqliteDatabase(Path(shutil.copy(template, folder / "gateway.sqlite3"))), keys

    def _seed(self, database: Database) -> list[str]:
        environment = os.environ | {
            "DATABASE_URL": database.url,
            "DJANGO_SETTINGS_MODULE": "project.settings",
            "STATE_DIR": str(self._folder),
        }
        command = [sys.executable, "-m", "tests.soak.seed", self.upstream.url]
        done = subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE)
        keys: list[str] = json.loads(done.stdout)
        return keys

    @contextlib.contextmanager
    def installation(self, *, sqlite: bool = False, **environment: str) -> Iterator[Installation]:
        """Run a gateway with an empty ledger, and clear the upstream's log."""
        self._installations += 1
        folder = self._folder / f"state-{self._installations}"
        folder.mkdir()
        (folder / "static").symlink_to(self._folder / "static")
        database: Database
        if sqlite:
            database, keys = self._create_sqlite(folder)
        else:
            database, keys = self._create(f"soak_{self._installations}", template="seeded"), self._keys
        installation = Installation(self, database, keys, folder, {"CONFIG_CACHE_TTL_S": "5", **environment})
        self.upstream.clear()
        with installation.gateway:
            try:
                yield installation
            finally:
                if not self.postgres.is_running():
                    self.postgres.start()
