"""A real PostgreSQL server for the test run, on a free port, removed afterwards."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

START_WITHIN_S = 30


class PostgresMissing(Exception):
    """No PostgreSQL server is installed on this machine."""


class PostgresCluster:
    """A cluster in a temporary folder. `start` and `stop` may be called again: the data stays until `remove`."""

    def __init__(self, *, fsync: bool = False) -> None:
        self._fsync = "on" if fsync else "off"
        self._bin = _bin_folder()
        self._folder = Path(tempfile.mkdtemp(prefix="messages-gateway-postgres-"))
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")  # the server does not run as root
            os.chown(self._folder, account.pw_uid, account.pw_gid)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._run("initdb", "-D", str(self._data), "-A", "trust", "-U", "gateway", "-E", "UTF8", "--no-sync")

    @property
    def url(self) -> str:
        return f"postgres://gateway@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = f"-p {self.port} -k {self._folder} -c listen_addresses=127.0.0.1 -c max_connections=100"
        options += f" -c fsync={self._fsync}"
        log = str(self._folder / "log")
        self._run("pg_ctl", "start", "-w", "-t", str(START_WITHIN_S), "-D", str(self._data), "-l", log, "-o", options)

    def stop(self) -> None:
        """Stop immediately, without notice to clients, as a server that crashes."""
        self._run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", str(self._data))

    def is_running(self) -> bool:
        return (self._data / "postmaster.pid").exists()

    def freeze(self) -> None:
        """Suspend every process of the server: connections stay open, and nothing responds."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        postmaster = int((self._data / "postmaster.pid").read_text().split()[0])
        os.kill(postmaster, number)  # first, so that it starts no more children
        for child in Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split():
            os.kill(int(child), number)

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._bin / program), *arguments]
        if os.geteuid() == 0:
            command = ["runuser", "-u", "postgres", "--", *command]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self._folder)


def _bin_folder() -> Path:
    """Return the folder of the server's programs: Debian keeps them off the PATH, by version."""
    if on_path := shutil.which("initdb"):
        return Path(on_path).parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not versions:
        raise PostgresMissing
    return versions[-1].parent
