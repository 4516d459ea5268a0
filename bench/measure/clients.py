"""The clients of plain requests as processes on the load's core: wrk where it is installed, else the one in Python."""

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.load.bodies import request_body
from bench.measure.options import HERE, Options
from bench.servers.definitions import BenchError, Candidate
from bench.servers.running import RunningServer

EXTRA_S = 90  # for the requests in flight at the end


def name_of_client(options: Options) -> str:
    if options.client != "auto":
        return options.client
    return "wrk" if shutil.which("wrk") else "python"


def send_plain(
    options: Options, url: str, body: Path, headers: list[str], *, connections: int, seconds: float
) -> dict[str, Any]:
    """Return the figures of the client, or what is wrong with it under `problems`."""
    environment = dict(os.environ)
    if name_of_client(options) == "wrk":
        environment |= {"BODY": str(body), "HEADERS": "\n".join(headers)}
        command = ["taskset", "-c", str(options.load_core), "wrk", "-t1", f"-c{connections}"]
        command += [f"-d{max(1, round(seconds))}s", "--timeout", "30s", "-s", str(HERE / "load/wrk_post.lua"), url]
    else:
        command = plain_command(options, url, body, headers, connections=connections, seconds=seconds)
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds + EXTRA_S)
    except subprocess.TimeoutExpired:
        return {"problems": ["the client did not end"]}
    for line in done.stdout.splitlines():
        if line.startswith(("JSON {", "{")):
            figures: dict[str, Any] = json.loads(line.removeprefix("JSON "))
            return figures
    return {"problems": [f"client: {(done.stdout + done.stderr)[-200:]!r}"]}


def header_lines(candidate: Candidate, server: RunningServer) -> list[str]:
    return [f"{name}: {server.expand(value)}" for name, value in candidate.headers.items()]


def plain_command(
    options: Options, url: str, body: Path, headers: list[str], *, connections: int, seconds: float
) -> list[str]:
    """Return the command of the client in Python."""
    command = ["taskset", "-c", str(options.load_core), sys.executable, "-m", "bench.load.plain", "--url", url]
    command += ["--body", str(body), "--connections", str(connections), "--seconds", str(seconds)]
    return command + [part for header in headers for part in ("--header", header)]


def finished_clients_cpu_seconds() -> float:
    """Return the CPU time of all clients that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def start_plain(
    options: Options,
    candidate: Candidate,
    server: RunningServer,
    *,
    connections: int,
    seconds: float,
    size: int = 0,
    keys: Path | None = None,
    start_at: float = 0.0,
) -> "subprocess.Popen[str]":
    """Start the client in Python. With a file of keys, each request has the next one. `read_figures` waits for it."""
    body = Path(server.expand("${run}")) / f"body-{candidate.name}-{size}.json"
    body.write_bytes(request_body(candidate.format, server.expand(candidate.model), stream=candidate.stream, size=size))
    url = f"http://127.0.0.1:{server.port}{candidate.path}"
    headers = [] if keys else header_lines(candidate, server)
    command = plain_command(options, url, body, headers, connections=connections, seconds=seconds)
    command += ["--keys", str(keys)] if keys else []
    command += ["--start-at", str(start_at)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def read_figures(client: "subprocess.Popen[str]", seconds: float) -> dict[str, Any]:
    """Return the figures of a client. Raise BenchError if it had none, no request or errors."""
    output = client.communicate(timeout=seconds + EXTRA_S)[0]
    figures: dict[str, Any] = json.loads(output or "{}")
    if not figures.get("requests") or figures["errors"]:
        raise BenchError(f"client: {figures}")
    return figures
