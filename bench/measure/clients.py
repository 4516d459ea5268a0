"""The clients of plain requests as processes on the load's core: wrk where it is installed, else the one in Python."""

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.measure.options import HERE, Options

EXTRA_S = 90  # for the requests in flight at the end


def name_of_client(options: Options) -> str:
    if options.client != "auto":
        return options.client
    return "wrk" if shutil.which("wrk") else "python"


def send_plain(
    options: Options, url: str, body: Path, headers: list[str], *, connections: int, seconds: float, client: str = ""
) -> dict[str, Any]:
    """Return the figures of the client, or what is wrong with it under `problems`."""
    pinned = ["taskset", "-c", str(options.load_core)]
    environment = dict(os.environ)
    if (client or name_of_client(options)) == "wrk":
        environment |= {"BODY": str(body), "HEADERS": "\n".join(headers)}
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "30s"]
        command += ["-s", str(HERE / "load/wrk_post.lua"), url]
    else:
        command = [sys.executable, "-m", "bench.load.plain", "--url", url, "--body", str(body)]
        command += ["--connections", str(connections), "--seconds", str(seconds)]
        command += [part for header in headers for part in ("--header", header)]
    try:
        done = subprocess.run(
            [*pinned, *command], env=environment, capture_output=True, text=True, timeout=seconds + EXTRA_S
        )
    except subprocess.TimeoutExpired:
        return {"problems": ["the client did not end"]}
    for line in done.stdout.splitlines():
        if line.startswith(("JSON {", "{")):
            figures: dict[str, Any] = json.loads(line.removeprefix("JSON "))
            return figures
    return {"problems": [f"client: {(done.stdout + done.stderr)[-200:]!r}"]}


def finished_clients_cpu_seconds() -> float:
    """Return the CPU time of all clients that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
