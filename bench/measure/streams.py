"""Streams: first chunk, gaps, CPU time per chunk and memory of one candidate at one number of streams."""

import json
import subprocess
import sys
from typing import Any

from bench.measure.clients import header_lines
from bench.measure.options import Options
from bench.measure.upstream import MockUpstream
from bench.servers.definitions import Candidate
from bench.servers.running import RunningServer

ENOUGH_OF_RATE = 0.9
RAMP_MARGIN_S = 1.0


class StreamMeasurement:
    """Measures streams of candidates. One that fails at a level is not measured at higher levels."""

    def __init__(self, options: Options, upstream: MockUpstream) -> None:
        self._options, self._upstream = options, upstream

    def measure(self, candidate: Candidate, server: RunningServer, level: int) -> dict[str, Any]:
        before = self._upstream.counters()
        figures = self._open_streams(candidate, server, level)
        server.settle()
        after = self._upstream.counters()
        started, done = (after[name] - before[name] for name in ("streams", "done"))
        if (started, done) != (level, level) or after["open"]:
            figures.setdefault("problems", []).append(
                f"upstream: {started} streams started, {done} completed, {after['open']} open"
            )
        if figures.get("memory_mb") and not server.server.is_upstream:
            figures["mb_per_1000"] = round((figures["memory_mb"] - server.idle_mb) / level * 1000, 1)
        return figures

    @staticmethod
    def has_failed(figures: dict[str, Any]) -> bool:
        return bool(figures.get("bad")) or figures.get("of_rate", 0) < ENOUGH_OF_RATE

    def _open_streams(self, candidate: Candidate, server: RunningServer, level: int) -> dict[str, Any]:
        options = self._options
        nominal_s = options.ramp_s + options.chunks * options.interval_ms / 1000
        command = stream_command(options, candidate, server, self._upstream, level)
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=nominal_s * 4 + 90)
            figures: dict[str, Any] = json.loads(done.stdout)
        except subprocess.TimeoutExpired:
            return {"bad": level, "problems": ["the client did not end"]}
        except ValueError:
            return {"bad": level, "problems": [f"client: {done.stderr[-200:]}"]}
        return figures


def stream_command(
    options: Options, candidate: Candidate, server: RunningServer, upstream: MockUpstream, streams: int
) -> list[str]:
    """Return the command of the client."""
    assert server.process is not None
    command = ["taskset", "-c", str(options.load_core), sys.executable, "-m", "bench.load.streams"]
    command += ["--url", f"http://127.0.0.1:{server.port}{candidate.path}", "--format", candidate.format]
    command += ["--model", server.expand(candidate.model), "--streams", str(streams)]
    command += ["--chunks", str(options.chunks), "--interval", str(options.interval_ms)]
    command += ["--ramp", str(options.ramp_s), "--pid", str(server.process.pid)]
    command += ["--load-pid", str(upstream.process.pid)]
    return command + [part for line in header_lines(candidate, server) for part in ("--header", line)]
