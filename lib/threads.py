"""
Real threads and their signals, with and without gevent.

Under the gevent worker `threading` is cooperative: a lock wait inside SQLite would stop every stream of the worker
(measured: 0.99 s against 0.02 s). What may block for real runs in a thread of the operating system, and wakes the
greenlets that wait for it through their event loop.
"""

import logging
import queue
import threading
from _thread import start_new_thread
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from django.db.backends.signals import connection_created
from gevent import get_hub, monkey
from gevent.event import Event as GreenletEvent

QueueEmpty = queue.Empty
"""Raised by `get` of a `simple_queue`."""


class Signal(Protocol):
    """Set once by the native thread, awaited by one greenlet or thread."""

    def wait(self, timeout: float | None = None) -> bool: ...


class _GreenletSignal:
    __slots__ = ("_event", "_loop")

    def __init__(self) -> None:
        self._event = GreenletEvent()
        self._loop = get_hub().loop

    def wait(self, timeout: float | None = None) -> bool:
        return bool(self._event.wait(timeout))

    def set_from_thread(self) -> None:
        self._loop.run_callback_threadsafe(self._event.set)


class _ThreadSignal:
    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        return self._event.wait(timeout)

    def set_from_thread(self) -> None:
        self._event.set()


def is_cooperative() -> bool:
    """Whether `threading` has been replaced by gevent's."""
    return bool(monkey.is_module_patched("threading"))


def signal() -> "_GreenletSignal | _ThreadSignal":
    """A signal for whoever waits in this kind of thread."""
    return _GreenletSignal() if is_cooperative() else _ThreadSignal()


def simple_queue() -> Any:
    """An unbounded queue whose `get` blocks a real thread and whose `put` never blocks."""
    return monkey.get_original("queue", "SimpleQueue")()


def run_in_thread(target: Callable[[], None]) -> None:
    """Run `target` in a real thread. It does not keep the process alive: whoever needs its end waits for a signal."""
    if not is_cooperative():
        start_new_thread(target, ())
        return
    _make_shared_locks_real()
    monkey.get_original("_thread", "start_new_thread")(target, ())


def _make_shared_locks_real() -> None:
    """Let greenlets and real threads share what both use of the libraries: logging, and Django's way to connect.

    A greenlet that waits for a greenlets' lock is not woken by a real thread that gives it back: one line in the log of
    each at the same moment, and no greenlet of the process ever logs again. None of these locks is held across a switch
    of greenlets, so real ones do no harm.
    """
    real_lock, real_rlock = (monkey.get_original("_thread", name) for name in ("allocate_lock", "RLock"))
    if isinstance(logging._lock, real_rlock):  # type: ignore[attr-defined]
        return
    logging._lock = real_rlock()  # type: ignore[attr-defined]
    for handler in filter(None, (reference() for reference in logging._handlerList)):  # type: ignore[attr-defined]
        handler.lock = real_rlock()
    connection_created.lock = real_lock()


def sleep(seconds: float) -> None:
    """Let a real thread sleep."""
    monkey.get_original("time", "sleep")(seconds)


def set_all(signals: Iterable["_GreenletSignal | _ThreadSignal"]) -> None:
    """Wake everybody who waits."""
    for each in signals:
        each.set_from_thread()
