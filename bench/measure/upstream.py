"""The mock upstream as a process, and its counters."""

import json
import sys
import time
from http.client import HTTPConnection
from pathlib import Path

from bench.measure.options import Options
from bench.servers import processes
from bench.servers.definitions import BenchError


class MockUpstream:
    """A process of `bench.load.upstream` on the load's core."""

    def __init__(self, options: Options, log: Path) -> None:
        self.port = processes.free_port()
        arguments = ["--port", str(self.port), "--chunks", str(options.chunks)]
        arguments += ["--interval", str(options.interval_ms), "--delay", str(options.delay_ms)]
        command = [sys.executable, "-m", "bench.load.upstream", *arguments]
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "wb") as out:
            self.process = processes.spawn(
                command, core=options.load_core, limit_s=options.limit_s, stdout=out, stderr=out
            )
        deadline = time.monotonic() + 20
        while not self._is_ready():
            if time.monotonic() > deadline or self.process.poll() is not None:
                self.stop()
                raise BenchError(f"the mock upstream did not start\n{processes.tail(log)}")
            time.sleep(0.1)

    def _is_ready(self) -> bool:
        try:
            self.counters()
        except OSError:
            return False
        return True

    def counters(self) -> dict[str, int]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("GET", "/counters")
        found: dict[str, int] = json.loads(connection.getresponse().read())
        connection.close()
        return found

    def stop(self) -> None:
        processes.stop(self.process)
