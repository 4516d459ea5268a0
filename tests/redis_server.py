"""A real Redis of the test run's own, on a free port, which may stop, start again, and fall silent."""

import shutil
import signal
import socket
import subprocess
import time
from typing import Self

import redis

START_WITHIN_S = 10.0


class RedisMissing(Exception):
    """No Redis server is installed on this machine."""


class RedisServer:
    """A server that keeps nothing. `start` and `stop` may be called again; the port stays."""

    def __init__(self) -> None:
        program = shutil.which("redis-server") or shutil.which("valkey-server")
        if program is None:
            raise RedisMissing
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        command = [self._program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + START_WITHIN_S
        while not self._answers():
            if time.monotonic() > deadline:
                raise TimeoutError(f"Redis does not answer after {START_WITHIN_S} s")
            time.sleep(0.02)

    def _answers(self) -> bool:
        with redis.Redis(port=self.port, socket_timeout=1) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

    def stop(self) -> None:
        """At once, as a server that dies: what it held is gone."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()  # also one that was frozen
            process.wait()

    def freeze(self) -> None:
        """Let it take connections and answer nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)
