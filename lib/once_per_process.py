"""Start of background threads and per-process state: once per process, and again after a fork."""

import os
import threading
import weakref
from collections.abc import Callable


class OncePerProcess:
    """Call `start` once per process.

    `Application.start` starts everything when a worker starts. A process without the application, such as a management
    command or a test, starts a thread when it first needs it. A child process does not inherit threads, and a boot id
    must not be shared, so a fork makes `start` due again.
    """

    def __init__(self, start: Callable[[], None]) -> None:
        self._start = start
        self._lock = threading.Lock()
        self._is_started = False
        _instances.add(self)

    @property
    def is_started(self) -> bool:
        """Whether `start` has been called in this process, and not `reset` since."""
        return self._is_started

    def ensure(self) -> None:
        """Call `start` unless it was called in this process. Other threads wait until it returns."""
        if self._is_started:
            return
        with self._lock:
            if not self._is_started:
                self._start()
                self._is_started = True

    def reset(self) -> None:
        """Make `start` due again, after what it started has ended."""
        self._is_started = False

    def forget(self) -> None:
        """Reset in a child process, where a thread of the parent may have held the lock."""
        self._lock = threading.Lock()
        self._is_started = False


_instances: "weakref.WeakSet[OncePerProcess]" = weakref.WeakSet()


def _after_fork() -> None:
    for each in list(_instances):
        each.forget()


os.register_at_fork(after_in_child=_after_fork)
