"""The servers of a run: which are needed, their variables, start, databases, stop."""

import subprocess
import sys
from pathlib import Path

from bench.measure.machine import say
from bench.measure.options import Options
from bench.measure.upstream import MockUpstream
from bench.servers import revisions, running
from bench.servers.definitions import BenchError, Definitions, Server
from bench.servers.running import RunningServer
from tests.support.postgres import PostgresCluster


class Servers:
    """All servers that the candidates need, started one after the other."""

    def __init__(self, options: Options, definitions: Definitions, work: Path) -> None:
        self._options, self._definitions, self._work = options, definitions, work
        self._cluster: PostgresCluster | None = None
        self.upstream = MockUpstream(options, work / "run/upstream.log")
        self.running: dict[str, RunningServer] = {}
        self.revisions: dict[str, str] = {}
        self.failures: dict[str, str] = {}

    def start(self, names: list[str]) -> None:
        """Start the servers of these names. One that cannot start is noted in `failures`."""
        for name in dict.fromkeys(names):
            if name in self.running:
                continue
            server = self._definitions.servers[name]
            say(f"start {name}")
            try:
                self.running[name] = self._start(server)
            except BenchError as error:
                self.failures[name] = str(error)

    def _start(self, server: Server) -> RunningServer:
        variables = self._variables(server)
        if server.is_upstream:
            variables["port"] = str(self.upstream.port)
            return RunningServer(server, variables, self.upstream.process)
        options = self._options
        core = options.load_core if server.is_on_load_core else options.gateway_core
        return running.start(server, variables, core=core, limit_s=options.limit_s)

    def _variables(self, server: Server) -> dict[str, str]:
        variables = {
            "work": str(self._work),
            "upstream": f"http://127.0.0.1:{self.upstream.port}",
            "upstream_port": str(self.upstream.port),
            "root": str(revisions.ROOT),
            "python": sys.executable,
        }
        for name in server.needs:
            self.start([name])
            variables[f"{name}_port"] = str(self._needed(name).port)
        texts = [server.cwd, *server.env.values(), *server.command]
        checkout = "root" if "${root}" in server.cwd else ""
        if "${base}" in server.cwd:
            checkout = "base"
            folder = revisions.checkout(self._options.base, self._work)
            variables |= {"base": str(folder), "base_python": str(revisions.python_of(folder, self._work))}
        if checkout:
            self.revisions[server.name] = revisions.describe(Path(variables[checkout]))
        if any("${postgresql}" in text for text in texts):
            variables["postgresql"] = self._database(server.name)
        return variables

    def _needed(self, name: str) -> RunningServer:
        if name not in self.running:
            raise BenchError(f"it needs {self.failures[name]}")
        return self.running[name]

    def _database(self, name: str) -> str:
        """Create a database for a server and return its URL. The database server runs on the load's core."""
        if self._cluster is None:
            self._cluster = PostgresCluster(fsync=True)
            self._cluster.start()
        url = self._cluster.url.rpartition("/")[0]
        database = name.replace("-", "_")
        server = url.replace("postgres://", "postgresql://")
        subprocess.run(["psql", "-q", f"{server}/postgres", "-c", f"CREATE DATABASE {database}"], check=True)
        return f"{url}/{database}"

    def restart(self, names: list[str]) -> None:
        """End and start the processes of prepared servers: they keep their databases. Raise BenchError on a failure."""
        for name in names:
            self.running[name].stop()
        for name in names:
            running.launch(self.running[name], core=self._options.gateway_core, limit_s=self._options.limit_s)

    def versions(self) -> dict[str, str]:
        found = {name: server.version() for name, server in self.running.items()}
        return {name: version for name, version in (found | self.revisions).items() if version}

    def stop(self) -> None:
        for server in self.running.values():
            server.stop()
        self.upstream.stop()
        if self._cluster:
            self._cluster.remove()
