"""Child processes: each in a process group of its own on one core, with an end even if this process is killed."""

import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

GUARD_S = 300  # servers end by themselves this long after the time limit of a run


def spawn(command: list[str], *, core: int, limit_s: float, **options: Any) -> "subprocess.Popen[bytes]":
    guard = ["timeout", "--kill-after=5", str(int(limit_s + GUARD_S)), "taskset", "-c", str(core)]
    return subprocess.Popen(guard + command, start_new_session=True, stdin=subprocess.DEVNULL, **options)


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End a process group of `spawn`: with SIGTERM, then with SIGKILL."""
    for number, timeout_s in ((signal.SIGTERM, 8), (signal.SIGKILL, 5)):
        try:
            os.killpg(process.pid, number)
            process.wait(timeout_s)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tail(log: Path, lines: int = 8) -> str:
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""
