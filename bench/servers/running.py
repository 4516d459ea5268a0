"""Running servers: prepare, start, wait until ready, stop."""

import os
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from bench.servers import processes
from bench.servers.definitions import BenchError, Server, expand
from bench.servers.procfs import cpu_seconds, processes_below

PREPARE_WITHIN_S, START_WITHIN_S = 300, 90
SETTLED_CPU_S = 0.004  # of 0.2 s: 2 % of a core is idle


@dataclass
class RunningServer:
    """A started server. `variables` are those of its texts, with its port and its key."""

    server: Server
    variables: dict[str, str]
    process: "subprocess.Popen[bytes] | None" = None
    idle_mb: float = 0.0
    keys: list[str] = field(default_factory=list)
    log: Path = field(default_factory=Path)

    @property
    def port(self) -> int:
        return int(self.variables["port"])

    @property
    def name(self) -> str:
        return self.server.name

    def pids(self) -> list[int]:
        """Return its processes. The one that was started is only the guard of its time."""
        return processes_below([self.process.pid]) if self.process else []

    def expand(self, text: str) -> str:
        return expand(text, self.variables, owner=self.name)

    def stop(self) -> None:
        if self.process and not self.server.is_upstream:
            processes.stop(self.process)
        self.process = None

    def version(self) -> str:
        """Return what its version command prints, or an empty text."""
        if not self.server.version:
            return ""
        command = [self.expand(word) for word in self.server.version]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        except (OSError, subprocess.SubprocessError) as error:
            return f"unknown ({error})"[:80]
        return (done.stdout + done.stderr).strip()[:80]

    def settle(self, within_s: float = 10) -> None:
        """Wait until it has finished the work of the last measurement."""
        deadline, used = time.monotonic() + within_s, cpu_seconds(self.pids())
        while time.monotonic() < deadline:
            time.sleep(0.2)
            now = cpu_seconds(self.pids())
            if now - used < SETTLED_CPU_S:
                return
            used = now


def start(server: Server, variables: dict[str, str], *, core: int, limit_s: float) -> RunningServer:
    """Prepare and start a server and wait until it is ready. Raise BenchError with the end of its log otherwise."""
    run = Path(variables["work"]) / "run" / server.name
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir(parents=True)
    own = {"here": str(server.folder), "run": str(run), "port": str(processes.free_port())}
    running = RunningServer(server, variables | own, log=run / "log")
    for name in server.files:
        template = server.folder / name
        (run / template.name).write_text(running.expand(template.read_text()))
    try:
        _prepare(running)
    except (OSError, subprocess.SubprocessError) as error:
        raise BenchError(f"{server.name}: {error}\n{processes.tail(running.log)}") from None
    launch(running, core=core, limit_s=limit_s)
    return running


def launch(running: RunningServer, *, core: int, limit_s: float) -> None:
    """Start the process of a prepared server and wait until it is ready. Raise BenchError otherwise."""
    words, options = [running.expand(word) for word in running.server.command], _options(running)
    with open(running.log, "ab") as out:
        try:
            running.process = processes.spawn(words, core=core, limit_s=limit_s, stdout=out, stderr=out, **options)
        except OSError as error:
            raise BenchError(f"{running.name}: {error}") from None
    deadline = time.monotonic() + START_WITHIN_S
    while not _is_ready(running):
        if running.process.poll() is not None or time.monotonic() > deadline:
            running.stop()
            raise BenchError(f"{running.name} did not start\n{processes.tail(running.log)}")
        time.sleep(0.2)


def _prepare(running: RunningServer) -> None:
    server, options = running.server, _options(running)
    options |= {"stdin": subprocess.DEVNULL, "timeout": PREPARE_WITHIN_S, "check": True}
    with open(running.log, "wb") as out:
        for command in server.prepare:
            subprocess.run([running.expand(word) for word in command], stdout=out, stderr=out, **options)
        if server.key_command:
            words = [running.expand(word) for word in server.key_command]
            done = subprocess.run(words, stdout=subprocess.PIPE, stderr=out, text=True, **options)
            running.keys = done.stdout.split()
            running.variables["key"] = ["", *running.keys][-1]


def _options(running: RunningServer) -> dict[str, Any]:
    env = {**os.environ, "NO_PROXY": "*", "no_proxy": "*"}
    env |= {name: running.expand(str(value)) for name, value in running.server.env.items()}
    return {"cwd": running.server.folder / running.expand(running.server.cwd), "env": env}


def _is_ready(running: RunningServer) -> bool:
    try:
        connection = HTTPConnection("127.0.0.1", running.port, timeout=3)
        if not running.server.health:
            connection.connect()
            return True
        connection.request("GET", running.server.health)
        return connection.getresponse().status < 400
    except (OSError, HTTPException):
        return False
