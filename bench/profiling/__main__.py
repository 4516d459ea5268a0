"""
`make profile`: where the microseconds of a request and of a chunk are spent, by thread, package and library.

    python -m bench.profiling [--path envelope-openai] [--server profiled|profiled-base|profiled-postgresql]
                              [--connections 16] [--streams 100] [--seconds 8] [--base COMMIT]

The package is the innermost one of the project on the stack, the library the innermost one that it uses.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from bench.measure import machine
from bench.measure.clients import read_figures, start_plain
from bench.measure.options import HERE, Options, work_folder
from bench.measure.servers import Servers
from bench.measure.streams import RAMP_MARGIN_S, stream_command
from bench.report.tables import Rows, aligned
from bench.run import default_base, pin_to_load_core
from bench.servers.definitions import BenchError, Candidate, load
from bench.servers.running import RunningServer

ROWS = 40
WARM_UP_S = 2


class Profiler:
    """A gateway with a sampler, and the load on it."""

    def __init__(self, options: Options, candidate: Candidate, servers: Servers) -> None:
        self._options, self._candidate = options, candidate
        self._upstream = servers.upstream
        self._server: RunningServer = servers.running[candidate.server]
        self._file = Path(self._server.expand("${run}/profile.json"))

    def request(self, connections: int, seconds: float) -> tuple[dict[str, Any], int]:
        """Return the profile of plain requests and their number."""
        self._send(connections, WARM_UP_S)
        self._signal(signal.SIGRTMIN)
        count = self._send(connections, seconds)
        return self._profile(), count

    def _send(self, connections: int, seconds: float) -> int:
        client = start_plain(self._options, self._candidate, self._server, connections=connections, seconds=seconds)
        return int(read_figures(client, seconds)["requests"])

    def chunk(self, streams: int) -> tuple[dict[str, Any], int]:
        """Return the profile of open streams and the number of chunks in that time."""
        options = self._options
        command = stream_command(options, self._candidate, self._server, self._upstream, streams)
        client = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        time.sleep(options.ramp_s + RAMP_MARGIN_S)
        self._signal(signal.SIGRTMIN)
        started = time.monotonic()
        time.sleep(options.chunks * options.interval_ms / 1000 - options.ramp_s - 2 * RAMP_MARGIN_S)
        profile, seconds = self._profile(), time.monotonic() - started
        figures = json.loads(client.communicate(timeout=120)[0])
        return profile, round(figures["chunks_per_s"] * seconds)

    def _signal(self, number: int) -> None:
        """Signal the worker, which is the last descendant: below it are no processes."""
        os.kill(self._server.pids()[-1], number)
        time.sleep(0.05)

    def _profile(self) -> dict[str, Any]:
        self._file.unlink(missing_ok=True)
        self._signal(signal.SIGRTMIN + 1)
        deadline = time.monotonic() + 10
        while not self._file.exists():
            if time.monotonic() > deadline:
                raise BenchError("the worker wrote no profile")
            time.sleep(0.05)
        found: dict[str, Any] = json.loads(self._file.read_text())
        return found


def table(profile: dict[str, Any], count: int, unit: str) -> Rows:
    """Return the microseconds per request or chunk, by thread, package and library, largest first."""
    rows = [["thread", "package", "library", f"µs per {unit}", "share"]]
    total, shown = profile["cpu_s"], 0.0
    sampled = sum(seconds for *_, seconds in profile["rows"])
    for thread, package, library, seconds in sorted(profile["rows"], key=lambda row: -row[3])[:ROWS]:
        rows.append([thread, package or "-", library or "-", *_figures(seconds, sampled, count)])
        shown += seconds
    rows.append(["others", "", "", *_figures(sampled - shown, sampled, count)])
    rows.append(["the sampler, and threads not seen", "", "", *_figures(total - sampled, total, count)])
    return rows


def by_package(profile: dict[str, Any], count: int, unit: str) -> Rows:
    """Return the microseconds by package alone."""
    found: dict[str, float] = defaultdict(float)
    for _, package, library, seconds in profile["rows"]:
        found[package or library or "Python"] += seconds
    total = sum(found.values())
    rows = [["package", f"µs per {unit}", "share"]]
    rows += [[name, *_figures(found[name], total, count)] for name in sorted(found, key=lambda name: -found[name])]
    return [*rows, ["together", *_figures(total, total, count)]]


def _figures(seconds: float, total: float, count: int) -> list[str]:
    return [f"{seconds / max(1, count) * 1e6:.1f}", f"{seconds / total:.1%}"]


def _tables(profile: dict[str, Any], count: int, unit: str) -> str:
    return f"{aligned(by_package(profile, count, unit))}\n\n{aligned(table(profile, count, unit))}"


def profile(arguments: argparse.Namespace) -> None:
    options = Options(
        files=[HERE / "candidates.toml", HERE / "profiling/profile.toml"], chunks=160, limit_s=300,
        base=arguments.base or default_base(),
    )  # fmt: skip
    pin_to_load_core(options)
    definitions = load(options.files)
    candidate = definitions.candidates[arguments.path]
    candidate.server = arguments.server
    servers = Servers(options, definitions, work_folder())
    try:
        servers.start([arguments.server])
        for failure in servers.failures.values():
            raise BenchError(failure)
        profiler = Profiler(options, candidate, servers)
        print(f"{arguments.path}, {servers.revisions[arguments.server]}")
        found, count = profiler.request(arguments.connections, arguments.seconds)
        print(f"\n{count} requests over {arguments.connections} connections\n\n{_tables(found, count, 'request')}")
        found, count = profiler.chunk(arguments.streams)
        print(f"\n{count} chunks of {arguments.streams} streams\n\n{_tables(found, count, 'chunk')}")
    finally:
        servers.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", default="envelope-openai", help="a candidate of candidates.toml")
    parser.add_argument("--server", default="profiled", help="a server of profile.toml")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--base", default="", help="commit of the earlier revision, for profiled-base")
    arguments = parser.parse_args()
    try:
        with machine.alone(work_folder()):
            profile(arguments)
    except BenchError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
