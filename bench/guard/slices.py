"""Slices: the gateway and the relay under load in the same second on the same core, and the ratio of their CPU time."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

from bench.measure.clients import read_figures, start_plain
from bench.measure.machine import say
from bench.measure.options import Options
from bench.measure.plain import first_response
from bench.measure.servers import Servers
from bench.servers.definitions import BenchError, Candidate, Definitions
from bench.servers.procfs import cpu_seconds
from bench.servers.running import RunningServer

CONNECTIONS = {"relay": 4, "guarded": 16, "earlier": 16}
PATHS = ("plain", "relayed", "streamed")
FLOOR = "relay"
WARM_UP_S = 1.0
SETTLE_S = 0.1  # for what the last settlements still write
REPEATS = 2  # of a slice with an error
CLIENT_START_S = 0.5  # time for the clients to load, so that they begin together


@dataclass(frozen=True, slots=True)
class Slice:
    """The CPU time of a request in microseconds, and its ratios to one of the relay and one of the earlier revision."""

    us: float
    to_relay: float
    to_earlier: float | None


class Slices:
    """The gateway, its earlier revision if it is known, and the relay as running servers.

    All are under load in the same second, so that the machine slows them in the same way. On a machine with a load of 9
    on two cores, the ratio to the relay of slices that alternate varied by 12 % (one standard deviation), that of
    slices in the same second by 8 %.
    """

    def __init__(self, options: Options, definitions: Definitions, work: Path) -> None:
        self._options, self._candidates = options, definitions.candidates
        self._servers = Servers(options, definitions, work)
        self._gateways = ["guarded", "earlier"] if options.base else ["guarded"]
        self._is_reversed = False

    def start(self) -> None:
        """Start the servers. Raise BenchError if one does not respond correctly."""
        self._servers.start([FLOOR, *self._gateways])
        for failure in self._servers.failures.values():
            raise BenchError(failure)
        for name in ("plain", "relayed"):
            for candidate in self._compared(name):
                reason, problems = first_response(candidate, self._server(candidate))
                if reason or problems:
                    raise BenchError(f"{name}: {reason} {problems}")

    def restart(self) -> None:
        """Start new processes of the gateways: two of one revision differ by up to 10 %. Their order alternates."""
        self._gateways.reverse()
        self._servers.restart(self._gateways)

    def warm_up(self) -> None:
        for name in PATHS:
            self._load(self._compared(name), WARM_UP_S)

    def measure(self, name: str, seconds: float) -> Slice:
        """Measure for so long. The order of the clients alternates, because the first has a small advantage."""
        for _ in range(REPEATS):
            try:
                return self._measure(name, seconds)
            except BenchError as error:
                say(f"{name}: a slice is repeated: {error}")
        return self._measure(name, seconds)

    def _measure(self, name: str, seconds: float) -> Slice:
        candidates = [*self._compared(name), self._candidates[FLOOR]]
        self._is_reversed = not self._is_reversed
        if self._is_reversed:
            gateway, *earlier, floor = self._load(candidates[::-1], seconds)[::-1]
        else:
            gateway, *earlier, floor = self._load(candidates, seconds)
        return Slice(gateway * 1e6, gateway / floor, gateway / earlier[0] if earlier else None)

    def _compared(self, name: str) -> list[Candidate]:
        """Return the path at this revision and, if it is known, at the earlier one."""
        candidate = self._candidates[name]
        return [candidate, *([replace(candidate, server="earlier")] if "earlier" in self._gateways else [])]

    def _load(self, candidates: list[Candidate], seconds: float) -> list[float]:
        """Send requests to all candidates concurrently. Return the CPU seconds of a request of each."""
        servers = [self._server(candidate) for candidate in candidates]
        before = [cpu_seconds(server.pids()) for server in servers]
        start_at = time.monotonic() + CLIENT_START_S
        clients = [
            start_plain(
                self._options, candidate, server, connections=CONNECTIONS[candidate.server], seconds=seconds,
                start_at=start_at,
            )
            for candidate, server in zip(candidates, servers, strict=True)
        ]  # fmt: skip
        figures = [read_figures(client, seconds) for client in clients]
        time.sleep(SETTLE_S)
        after = [cpu_seconds(server.pids()) for server in servers]
        return [(b - a) / found["requests"] for a, b, found in zip(before, after, figures, strict=True)]

    def _server(self, candidate: Candidate) -> RunningServer:
        return self._servers.running[candidate.server]

    def stop(self) -> None:
        self._servers.stop()
