"""The processes that quickstart starts and, whatever happens, ends again."""

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
LAST_WORDS_BYTES = 4_096


class Child:
    """A process in a session of its own: Ctrl-C in the terminal reaches quickstart alone, which ends it in order.

    Its output goes to a log file that begins anew. On Linux it also ends when quickstart is killed outright.
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

    def last_words(self) -> str:
        """The last line that it wrote, but for gunicorn's own `[time] [pid] [level]`: the reason stands before them."""
        lines = self.log.read_bytes()[-LAST_WORDS_BYTES:].decode(errors="replace").split("\n")
        words = (line.strip() for line in reversed(lines) if any(map(str.isalpha, line)) and not line.startswith("["))
        return next(words, "it said nothing").removeprefix("CommandError: ").rstrip(".")

    def wait_until_ready(self, url: str, *, within_s: float) -> None:
        """Return when the address answers with success. Raise CannotStart when the process ends or the time is over."""
        expires_at = time.monotonic() + within_s
        while not _answers(url):
            if self.has_ended():
                raise CannotStart(f"{self.name} did not start: {self.last_words()}. Log: {shown(self.log)}")
            if time.monotonic() > expires_at:
                raise CannotStart(f"{self.name} was not ready within {within_s:.0f} s. Log: {shown(self.log)}")
            time.sleep(POLL_S)

    def stop(self, *, within_s: float) -> None:
        """Ask it to end, and make it end when it takes longer or when somebody presses Ctrl-C again. Safe to repeat."""
        self._process.terminate()
        try:
            self._process.wait(within_s)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # its workers too
            self._process.wait()


def check_port_is_free(host: str, port: int, *, otherwise: str) -> None:
    """Raise CannotStart unless a server can listen there. `otherwise` tells how to choose another port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
            raise CannotStart(f"Port {port} {reason}. {otherwise}") from error


def _follow_parent() -> Callable[[], None]:
    """What a child runs before its program begins: ask the kernel for SIGTERM when the parent dies."""
    # Loaded here, not in the child: between fork and exec the less happens the better.
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def follow() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

    return follow


def _answers(url: str) -> bool:
    try:
        with opener.open(url, timeout=1):
            return True
    except OSError:  # refused, reset, or an HTTP status that says "not yet"
        return False
