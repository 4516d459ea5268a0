"""
Growth: what costs more as keys and bodies grow. `python -m bench.growth [--base COMMIT] [--keys 10000] [--rounds 5]`

- keys: requests of 10,000 keys in turn against requests of one key, at 64 connections;
- bodies: the rate of 100 KB and 5 MB bodies, beside that of the earlier revision;
- neighbors: the latency of a 1 KB request alone and beside 5 MB bodies;
- memory: after 50 bodies of 5 MB, and 20 s later.
"""

import argparse
import dataclasses
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from bench.measure import machine
from bench.measure.clients import read_figures, start_plain
from bench.measure.machine import say
from bench.measure.options import HERE, Options, work_folder
from bench.measure.servers import Servers
from bench.report.tables import Rows, aligned, spread
from bench.run import default_base, pin_to_load_core
from bench.servers.definitions import BenchError, Candidate, load
from bench.servers.procfs import cpu_seconds, resident_mb
from bench.servers.running import RunningServer

SIZES = {"100 KB": (100_000, 4), "5 MB": (5_000_000, 2)}
"""Bytes of a body, and connections that send it."""
SLICE_S = 4.0
KEY_CONNECTIONS, NEIGHBOR_CONNECTIONS = 64, 4
KNOWN_KEYS_WITHIN_S = 90.0
LARGE_BODIES, MEMORY_WAIT_S = 50, 20


class Growth:
    """Two revisions of the gateway, one path, and the load on them."""

    def __init__(self, options: Options, candidate: Candidate, servers: Servers, rounds: int) -> None:
        self._options, self._candidate, self._rounds = options, candidate, rounds
        self._this, self._earlier = servers.running["gateway"], servers.running["base"]

    def keys(self, server: RunningServer) -> Rows:
        """Compare the requests of many keys with those of one, alternately. All keys are known to the gateway."""
        file = Path(server.expand("${run}/keys"))
        file.write_text("\n".join(server.keys))
        say(f"send a request with each of {len(server.keys)} keys")
        needed, started = len(server.keys), time.monotonic()
        while needed > 0 and time.monotonic() - started < KNOWN_KEYS_WITHIN_S:
            needed -= self._send(server, KEY_CONNECTIONS, keys=file)["requests"]
        one, many = [], []
        for _ in range(self._rounds):
            one.append(self._send(server, KEY_CONNECTIONS))
            many.append(self._send(server, KEY_CONNECTIONS, keys=file))
        rows = [["keys", "req/s", "µs CPU/req", "rate, ratio to one key"]]
        for name, found in (("1", one), (f"{len(server.keys):,}", many)):
            ratios = [b["rps"] / a["rps"] for a, b in zip(one, found, strict=True)]
            rows.append([name, f"{_median(found, 'rps'):.0f}", f"{_median(found, 'us'):.0f}", spread(ratios)])
        return rows

    def bodies(self) -> Rows:
        rows = [["body", "req/s", "µs CPU/req", "ratio to 1 KB", "ratio to the earlier revision"]]
        for name, (size, connections) in {"1 KB": (0, 4), **SIZES}.items():
            found, small, earlier = [], [], []
            for _ in range(self._rounds):
                found.append(self._send(self._this, connections, size=size))
                small.append(self._send(self._this, connections))
                earlier.append(self._send(self._earlier, connections, size=size))
            to_small = [a["rps"] / b["rps"] for a, b in zip(found, small, strict=True)]
            to_earlier = [a["rps"] / b["rps"] for a, b in zip(found, earlier, strict=True)]
            figures = [f"{_median(found, 'rps'):.1f}", f"{_median(found, 'us'):.0f}"]
            rows.append([name, *figures, spread(to_small), spread(to_earlier)])
        return rows

    def neighbors(self) -> Rows:
        """Measure a small request alone and beside large ones, alternately."""
        rows = [["1 KB requests", "p50 ms", "p99 ms", "p50 beside 5 MB", "p99 beside 5 MB", "p50 added"]]
        size, connections = SIZES["5 MB"]
        for name, server in (("this revision", self._this), ("earlier revision", self._earlier)):
            alone, beside = [], []
            for _ in range(self._rounds):
                alone.append(self._send(server, NEIGHBOR_CONNECTIONS))
                large = start_plain(
                    self._options, self._candidate, server, connections=connections, seconds=SLICE_S + 1, size=size
                )
                time.sleep(1)
                beside.append(self._send(server, NEIGHBOR_CONNECTIONS))
                read_figures(large, SLICE_S)
            added = [b["p50"] - a["p50"] for a, b in zip(alone, beside, strict=True)]
            figures = [f"{_median(found, share):.1f}" for found in (alone, beside) for share in ("p50", "p99")]
            rows.append([name, *figures, spread(added)])
        return rows

    def memory(self) -> Rows:
        rows = [["memory in MB", "before", f"after {LARGE_BODIES} bodies of 5 MB", f"{MEMORY_WAIT_S} s later"]]
        size, connections = SIZES["5 MB"]
        for name, server in (("this revision", self._this), ("earlier revision", self._earlier)):
            before, sent = resident_mb(server.pids()), 0
            while sent < LARGE_BODIES:
                sent += self._send(server, connections, size=size)["requests"]
            after = resident_mb(server.pids())
            time.sleep(MEMORY_WAIT_S)
            rows.append([name, *(f"{value:.0f}" for value in (before, after, resident_mb(server.pids())))])
        return rows

    def _send(
        self, server: RunningServer, connections: int, *, size: int = 0, keys: Path | None = None
    ) -> dict[str, Any]:
        server.settle(3)
        used = cpu_seconds(server.pids())
        client = start_plain(
            self._options, self._candidate, server, connections=connections, seconds=SLICE_S, size=size, keys=keys
        )
        figures = read_figures(client, SLICE_S)
        used = cpu_seconds(server.pids()) - used
        return figures | {"us": used / figures["requests"] * 1e6}


def _median(found: list[dict[str, Any]], figure: str) -> float:
    return float(statistics.median(line[figure] for line in found))


def measure(arguments: argparse.Namespace) -> None:
    options = Options(limit_s=1200, base=arguments.base or default_base(), files=[HERE / "candidates.toml"])
    pin_to_load_core(options)
    definitions = load(options.files)
    many_keys = dataclasses.replace(definitions.servers["gateway"], name="many-keys")
    many_keys.key_command = [*many_keys.key_command, "--keys", str(arguments.keys)]
    definitions.servers["many-keys"] = many_keys
    servers = Servers(options, definitions, work_folder())
    parts = arguments.only.split(",")
    try:
        servers.start(["gateway", "base", *(["many-keys"] if "keys" in parts else [])])
        for failure in servers.failures.values():
            raise BenchError(failure)
        growth = Growth(options, definitions.candidates["envelope-openai"], servers, arguments.rounds)
        print(
            f"{machine.describe()}\nthis revision {servers.revisions['gateway']}, earlier {servers.revisions['base']}"
        )
        if "keys" in parts:
            print("", aligned(growth.keys(servers.running["many-keys"])), sep="\n", flush=True)
        for name in ("bodies", "neighbors", "memory"):
            if name in parts:
                print("", aligned(getattr(growth, name)()), sep="\n", flush=True)
    finally:
        servers.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="", help="commit of the earlier revision (default: that of baseline.json)")
    parser.add_argument("--keys", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="keys,bodies,neighbors,memory", help="parts, by commas")
    arguments = parser.parse_args()
    try:
        with machine.alone(work_folder()):
            measure(arguments)
    except BenchError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
