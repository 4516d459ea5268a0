"""Child processes of a server process: bounded time, memory and output."""

import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

PAUSE_S = 0.02
"""Between two looks at the child: other greenlets run meanwhile."""
PIECE = 65_536
MAX_ERROR_BYTES = 4_000


class ChildFailed(Exception):
    """The child process failed, or exceeded a bound. `output` is the end of its error output."""

    def __init__(self, message: str, output: str = "") -> None:
        super().__init__(message)
        self.output = output


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    timeout_s: float
    memory_bytes: int
    output_bytes: int


def run_python(
    arguments: Sequence[str], *, environment: Mapping[str, str], stdin: bytes = b"", bounds: Bounds
) -> bytes:
    """Run Python with arguments and return its output. Raise ChildFailed.

    Blocks this greenlet, not others. posix_spawn instead of subprocess: a fork of gevent runs Python code in a copy of
    the worker, with the after-fork handlers of the ledger.
    """
    deadline = time.monotonic() + bounds.timeout_s
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as errors:
        given.write(stdin)
        given.flush()
        given.seek(0)
        descriptors = [(given.fileno(), 0), (writing, 1), (errors.fileno(), 2)]
        try:
            pid = _spawn([sys.executable, *arguments], environment, descriptors)
        except OSError:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        try:
            _limit_memory(pid, bounds.memory_bytes)
            output = _read(reading, deadline=deadline, max_bytes=bounds.output_bytes)
            status = _wait(pid, deadline=deadline)
        except BaseException:
            _kill(pid)
            raise
        finally:
            os.close(reading)
        if status:
            raise ChildFailed(f"ended with status {status}", _end_of(errors.fileno()))
        return output


def _spawn(command: list[str], environment: Mapping[str, str], descriptors: Sequence[tuple[int, int]]) -> int:
    """Start the process with these descriptors as its standard ones, and no others."""
    actions: list[tuple[int, ...]] = [(os.POSIX_SPAWN_DUP2, own, other) for own, other in descriptors]
    # gunicorn makes its listening sockets inheritable: a child that holds them would keep the port.
    actions += [(os.POSIX_SPAWN_CLOSE, each) for each in _inheritable()]
    return os.posix_spawn(command[0], command, environment, file_actions=actions)


def _inheritable() -> list[int]:
    found = []
    for name in os.listdir("/dev/fd"):
        with suppress(OSError):  # the descriptor of the list itself
            if int(name) > 2 and os.get_inheritable(int(name)):
                found.append(int(name))
    return found


def _limit_memory(pid: int, size: int) -> None:
    if hasattr(resource, "prlimit"):  # Linux only
        with suppress(ProcessLookupError, PermissionError):
            resource.prlimit(pid, resource.RLIMIT_AS, (size, size))


def _read(descriptor: int, *, deadline: float, max_bytes: int) -> bytes:
    """Read to the end. Raise ChildFailed if it is too long or too late."""
    os.set_blocking(descriptor, False)
    pieces: list[bytes] = []
    size = 0
    while True:
        try:
            piece = os.read(descriptor, PIECE)
        except BlockingIOError:
            _check(deadline)
            time.sleep(PAUSE_S)
            continue
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)
        size += len(piece)
        if size > max_bytes:
            raise ChildFailed(f"more than {max_bytes:,} bytes of output")
        _check(deadline)


def _wait(pid: int, *, deadline: float) -> int:
    """Return the exit status, negative for a signal."""
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        _check(deadline)
        time.sleep(PAUSE_S)


def _check(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise ChildFailed("not finished in time")


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError, ChildProcessError):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _end_of(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    content = os.pread(descriptor, MAX_ERROR_BYTES, max(0, size - MAX_ERROR_BYTES))
    return content.decode(errors="replace")
