"""Child processes of quickstart, which end with it in every case."""

import contextlib
import ctypes
import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from project.quickstart.errors import CannotStart
from project.quickstart.local_http import opener
from project.quickstart.terminal import shown

POLL_S = 0.05
PR_SET_PDEATHSIG = 1  # from Linux's <sys/prctl.h>
LAST_OUTPUT_BYTES = 4_096


class Child:
    """A process in a session of its own: Ctrl-C in the terminal reaches only quickstart, which stops the process.

    Its output goes to a log file, which is truncated first. On Linux the process also ends if quickstart is killed.
    """

    def __init__(self, name: str, command: list[str], *, folder: Path, log: Path) -> None:
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(b"")
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_follow_parent() if sys.platform == "linux" else None,
            )

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def last_output(self) -> str:
        """Return the last line of the log with a reason; not gunicorn's own lines, which follow it."""
        lines = self.log.read_bytes()[-LAST_OUTPUT_BYTES:].decode(errors="replace").split("\n")
        reasons = (line.strip() for line in reversed(lines) if any(map(str.isalpha, line)) and not line.startswith("["))
        return next(reasons, "no output").removeprefix("CommandError: ").rstrip(".")

    def wait_until_ready(self, url: str, *, within_s: float) -> None:
        """Wait until the URL responds with success. Raise CannotStart if the process exits or the time is over."""
        expires_at = time.monotonic() + within_s
        while not _responds(url):
            if self.has_ended():
                raise CannotStart(f"{self.name} did not start: {self.last_output()}. Log: {shown(self.log)}")
            if time.monotonic() > expires_at:
                raise CannotStart(f"{self.name} was not ready within {within_s:.0f} s. Log: {shown(self.log)}")
            time.sleep(POLL_S)

    def stop(self, *, within_s: float) -> None:
        """Terminate the process. Kill it after `within_s` or at the next Ctrl-C. May be called twice."""
        self._process.terminate()
        try:
            self._process.wait(within_s)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # its workers too
            self._process.wait()


def check_port_is_free(host: str, port: int, *, advice: str) -> None:
    """Raise CannotStart, with advice how to choose another port, unless a server can listen on this one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
            raise CannotStart(f"Port {port} {reason}. {advice}") from error


def _follow_parent() -> Callable[[], None]:
    """Return a function for the child, before it executes the program: request SIGTERM for the parent's death."""
    # Loaded in the parent: as little as possible should happen between fork and exec.
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def follow() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

    return follow


def _responds(url: str) -> bool:
    try:
        with opener.open(url, timeout=1):
            return True
    except OSError:  # connection refused or reset, or an HTTP error status
        return False
