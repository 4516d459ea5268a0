"""A real Redis server for the test run, on a free port. It can be stopped, frozen, and restarted without its data."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from typing import Self

import redis

START_WITHIN_S = 10


class RedisMissing(Exception):
    """No Redis server is installed on this machine."""


class RedisServer:
    """A server in memory. `start` and `stop` may be repeated; `remove` also deletes its folder."""

    def __init__(self) -> None:
        program = shutil.which("redis-server") or shutil.which("valkey-server")
        if program is None:
            raise RedisMissing
        self._program = program
        self._folder = tempfile.mkdtemp(prefix="messages-gateway-redis-")
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def restore(self) -> None:
        """Make it respond, whatever an earlier test left behind: a stopped or a frozen server."""
        if self._process is None:
            self.start()
        self.thaw()
        self.accept_writes()

    def start(self) -> None:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", self._folder]
        self._process = subprocess.Popen([self._program, *options], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + START_WITHIN_S
        while not self._responds():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("redis-server did not start")
            time.sleep(0.02)

    def _responds(self) -> bool:
        try:
            return self._send(b"PING") == b"+PONG\r\n"
        except OSError:
            return False

    def empty(self) -> None:
        """Delete all data."""
        self._send(b"FLUSHALL")

    def execute(self, *words: str) -> bytes:
        """Execute one command. Return the beginning of its reply."""
        return self._send(" ".join(words).encode())

    def _send(self, command: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
            connection.sendall(command + b"\r\n")
            return connection.recv(64)

    def stop(self) -> None:
        """Stop immediately and lose all data, as a server that crashes. May be called twice."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def freeze(self) -> None:
        """Suspend the server: it accepts connections and does not respond."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def keys_without_expiry(self) -> list[str]:
        with redis.Redis.from_url(self.url, decode_responses=True) as client:
            return [key for key in client.scan_iter() if client.pttl(key) == -1]

    def longest_expiry_s(self, pattern: str) -> float:
        """Return the longest time to live of the keys that match a pattern."""
        with redis.Redis.from_url(self.url) as client:
            return max(client.pttl(key) for key in client.scan_iter(pattern)) / 1000

    def reject_writes(self) -> None:
        """Reject all writes. PING and reads work."""
        self.execute("CONFIG", "SET", "min-replicas-to-write", "1")

    def accept_writes(self) -> None:
        self.execute("CONFIG", "SET", "min-replicas-to-write", "0")

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)
