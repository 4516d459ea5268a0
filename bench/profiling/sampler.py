"""
Sampler in a gateway's worker: the CPU time of each thread, by package and library.

Imported by path, because the gateway may be of another revision. SIGRTMIN starts it, SIGRTMIN + 1 writes the profile to
a file. A timer of the process's CPU time interrupts the main thread every millisecond. Each thread's CPU time since the
last sample is added to what its stack shows then. The time of the sampler itself is left out.
"""

import json
import os
import signal
import sys
import time
from types import FrameType

from gevent.monkey import get_original

INTERVAL_S = 0.001
LIBRARIES = {
    "gevent": "gevent",
    "gunicorn": "gunicorn",
    "httptools": "httptools",
    "requests": "requests, urllib3",
    "urllib3": "requests, urllib3",
    "rest_framework": "DRF",
    "psycopg": "psycopg",
    "msgspec": "msgspec",
    "redis": "redis",
}
STANDARD = {"logging": "logging", "json": "json", "sqlite3": "sqlite3", "http": "requests, urllib3"}

Key = tuple[str, str, str]
"""Thread, package of the project, library."""


class Sampler:
    """The CPU time by thread, package and library. `root` is the folder of the gateway's code."""

    def __init__(self, root: str, file: str) -> None:
        self._root, self._file = root.rstrip("/") + "/", file
        self._known: dict[str, tuple[str, str]] = {}
        self._found: dict[Key, float] = {}
        self._last: dict[int, float] = {}
        self._started = 0.0
        self._main: int = get_original("_thread", "get_ident")()  # gevent's own returns that of a greenlet

    def install(self) -> None:
        signal.signal(signal.SIGRTMIN, self._start)
        signal.signal(signal.SIGRTMIN + 1, self._write)

    def _start(self, *_: object) -> None:
        self._found, self._started = {}, time.process_time()
        self._last = {thread: _cpu_of(thread) for thread in sys._current_frames()}
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL_S, INTERVAL_S)

    def _write(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        used = time.process_time() - self._started
        rows = [[*key, seconds] for key, seconds in self._found.items()]
        with open(f"{self._file}.new", "w") as file:
            json.dump({"cpu_s": used, "rows": rows}, file)
        os.replace(f"{self._file}.new", self._file)

    def _sample(self, _: int, interrupted: FrameType | None) -> None:
        me = self._main
        for thread, frame in sys._current_frames().items():
            now = _cpu_of(thread)
            used = now - self._last.get(thread, now)
            self._last[thread] = now
            if used > 0:
                key = self._key(interrupted if thread == me else frame, is_main=thread == me)
                self._found[key] = self._found.get(key, 0.0) + used
        self._last[me] = time.thread_time()

    def _key(self, frame: FrameType | None, *, is_main: bool) -> Key:
        """Return the innermost package of the project and, if it is inside of that, the innermost library."""
        package = library = outermost = ""
        while frame is not None:
            own, other = self._place(frame.f_code.co_filename)
            if other and not package and not library:
                library = other
            if own:
                package = package or own
                outermost = own
            frame = frame.f_back
        return ("main" if is_main else f"thread of {outermost or library or 'another'}"), package, library

    def _place(self, filename: str) -> tuple[str, str]:
        """Return the package of the project of a file, or the library."""
        found = self._known.get(filename)
        if found is None:
            found = self._known[filename] = self._place_of(filename)
        return found

    def _place_of(self, filename: str) -> tuple[str, str]:
        parts = filename.split("/")
        if "site-packages" in parts:
            inner = parts[parts.index("site-packages") + 1 :]
            if inner[0] == "django":
                return "", "Django ORM" if inner[1] == "db" else "Django"
            return "", LIBRARIES.get(inner[0].removesuffix(".py"), "")
        if filename.startswith(self._root):
            inner = filename.removeprefix(self._root).split("/")
            is_protocol = inner[:3] == ["messages_api", "backend", "protocol"]
            return "/".join(inner[: 3 if is_protocol else 2]), ""
        if len(parts) > 2 and parts[-2] in STANDARD:
            return "", STANDARD[parts[-2]]
        return "", ""


def _cpu_of(thread: int) -> float:
    try:
        return time.clock_gettime(time.pthread_getcpuclockid(thread))
    except OSError:
        return 0.0  # it has ended


def install(root: str, file: str) -> None:
    """Prepare the sampler in this process. Run it in the main thread."""
    Sampler(root, file).install()
