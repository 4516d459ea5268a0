"""Plain requests: rate, latency, CPU time per request and memory of one candidate at one number of connections."""

import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from bench.load.bodies import TEXT, request_body
from bench.load.checks import problems_of_response
from bench.measure.clients import finished_clients_cpu_seconds, header_lines, send_plain
from bench.measure.options import Options
from bench.measure.upstream import MockUpstream
from bench.servers.definitions import Candidate
from bench.servers.procfs import cpu_seconds, peak_mb, processes_below, reset_peak
from bench.servers.running import RunningServer


def first_response(candidate: Candidate, server: RunningServer) -> tuple[str, list[str]]:
    """Send one request. Return why the candidate cannot be measured, or '', and what is wrong with its response."""
    try:
        connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
        headers = dict(line.split(": ", 1) for line in header_lines(candidate, server))
        body = request_body(candidate.format, server.expand(candidate.model))
        connection.request("POST", candidate.path, body, {"Content-Type": "application/json"} | headers)
        response = connection.getresponse()
        raw = response.read()
    except (OSError, HTTPException) as error:
        return repr(error), []
    if response.status != 200:
        return f"{response.status} {raw[:300]!r}", []
    return "", problems_of_response(candidate.format, raw)


class PlainMeasurement:
    """Measures plain requests of candidates."""

    def __init__(self, options: Options, upstream: MockUpstream, work: Path) -> None:
        self._options, self._upstream, self._work = options, upstream, work

    def warm_up(self, candidate: Candidate, server: RunningServer) -> None:
        self._send(candidate, server, connections=8, seconds=self._options.warm_up_s)
        server.settle()

    def measure(self, candidate: Candidate, server: RunningServer, level: int) -> dict[str, Any]:
        pids, load = server.pids(), processes_below([self._upstream.process.pid])
        reset_peak(pids)
        upstream_requests = self._upstream.counters()["requests"]
        used, load_used = cpu_seconds(pids), cpu_seconds(load) + finished_clients_cpu_seconds()
        started = time.monotonic()
        figures = self._send(candidate, server, connections=level, seconds=self._options.seconds)
        seconds = time.monotonic() - started
        used = cpu_seconds(pids) - used
        load_used = cpu_seconds(load) + finished_clients_cpu_seconds() - load_used
        server.settle()
        count = figures.get("requests", 0)
        problems = figures.setdefault("problems", [])
        upstream_requests = self._upstream.counters()["requests"] - upstream_requests
        if not 0.99 * count <= upstream_requests <= 1.02 * count + level:
            problems.append(f"{upstream_requests} upstream requests for {count} responses")
        if count and figures["bytes"] < len(TEXT):
            problems.append(f"responses have {figures['bytes']} bytes")
        return figures | {
            "us_per_request": round(used / count * 1e6, 1) if count else None,
            "core": round(used / seconds, 3),
            "load_core": round(load_used / seconds, 3),
            "peak_mb": round(peak_mb(pids), 1),
        }

    def _send(self, candidate: Candidate, server: RunningServer, *, connections: int, seconds: float) -> dict[str, Any]:
        body = self._work / "run" / f"body-{candidate.name}.json"
        body.parent.mkdir(parents=True, exist_ok=True)
        model = server.expand(candidate.model)
        body.write_bytes(request_body(candidate.format, model, size=self._options.body_bytes))
        return send_plain(
            self._options, f"http://127.0.0.1:{server.port}{candidate.path}", body, header_lines(candidate, server),
            connections=connections, seconds=seconds,
        )  # fmt: skip
