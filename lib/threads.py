"""Threads: real ones and their signals, background runs, and starts once per process, with and without gevent.

Under the gevent worker `threading` is cooperative: a lock wait inside SQLite would stop every stream of the worker
(measured: 0.99 s against 0.02 s). Blocking code runs in a thread of the operating system, which wakes waiting greenlets
through their event loop.
"""

import logging
import os
import queue
import threading
import time
import weakref
from _thread import start_new_thread
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from django.db.backends.signals import connection_created
from gevent import get_hub, monkey
from gevent.event import Event as GreenletEvent
from gevent.hub import Waiter

Result = TypeVar("Result")
Item = TypeVar("Item")

TICK_S = 0.05
MAX_GATHER_S = 0.004

QueueEmpty = queue.Empty
"""Raised by `get` of a `simple_queue`."""


_real_ident = monkey.get_original("_thread", "get_ident")


class _GreenletSignal:
    """An event that a real thread sets once and that one greenlet waits for."""

    __slots__ = ("_event", "_loop")

    def __init__(self) -> None:
        self._event = GreenletEvent()
        self._loop = get_hub().loop

    def wait(self, timeout: float | None = None) -> bool:
        return bool(self._event.wait(timeout))

    def set_from_thread(self) -> None:
        self._loop.run_callback_threadsafe(self._event.set)


class _CoarseSignal:
    """A signal whose greenlet waits without a timer of its own."""

    __slots__ = ("_hub", "_is_set", "_waiter")

    def __init__(self) -> None:
        self._hub = get_hub()
        self._is_set = False
        self._waiter: Waiter | None = None

    def wait(self, timeout: float) -> bool:
        if not self._is_set:
            self._waiter = Waiter(self._hub)
            ticker = _ticker_of(self._hub)
            ticker.add(self, timeout)
            try:
                self._waiter.get()
            finally:
                self._waiter = None
                ticker.remove(self)
        return self._is_set

    @property
    def loop(self) -> Any:
        return self._hub.loop

    def set_from_thread(self) -> None:
        self._hub.loop.run_callback_threadsafe(self.set)

    def set(self) -> None:
        """Set the signal, in the hub."""
        self._is_set = True
        self.wake()

    def wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.switch(None)


class _Ticker:
    """The timeouts of the coarse signals of one hub: one timer for all, which runs while one is waited for."""

    def __init__(self, hub: Any) -> None:
        self._timer = hub.loop.timer(TICK_S, TICK_S)
        self._ends: dict[_CoarseSignal, float] = {}

    def add(self, signal: _CoarseSignal, timeout: float) -> None:
        self._ends[signal] = time.monotonic() + timeout
        if not self._timer.active:
            self._timer.start(self._tick)

    def remove(self, signal: _CoarseSignal) -> None:
        self._ends.pop(signal, None)

    def _tick(self) -> None:
        now = time.monotonic()
        for signal in [signal for signal, ends_at in self._ends.items() if ends_at <= now]:
            signal.wake()
        if not self._ends:
            self._timer.stop()


_tickers: "weakref.WeakKeyDictionary[Any, _Ticker]" = weakref.WeakKeyDictionary()


def _ticker_of(hub: Any) -> _Ticker:
    ticker = _tickers.get(hub)
    if ticker is None:
        ticker = _tickers[hub] = _Ticker(hub)
    return ticker


class _ThreadSignal:
    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        return self._event.wait(timeout)

    def set_from_thread(self) -> None:
        self._event.set()


def is_cooperative() -> bool:
    """Return whether gevent has replaced `threading`."""
    return bool(monkey.is_module_patched("threading"))


def signal() -> "_GreenletSignal | _ThreadSignal":
    """Return a signal for a waiter in the current kind of thread."""
    return _GreenletSignal() if is_cooperative() else _ThreadSignal()


def coarse_signal() -> "_CoarseSignal | _ThreadSignal":
    """Return a signal whose timeouts may be TICK_S late. To wait for it takes 1 µs, and 21 µs for another signal."""
    return _CoarseSignal() if is_cooperative() else _ThreadSignal()


def set_coarse_signals(signals: Iterable["_CoarseSignal | _ThreadSignal"]) -> None:
    """Set all signals from a real thread, which wakes each event loop once."""
    by_loop: dict[Any, list[_CoarseSignal]] = {}
    for signal in signals:
        if isinstance(signal, _CoarseSignal):
            by_loop.setdefault(signal.loop, []).append(signal)
        else:
            signal.set_from_thread()
    for loop, found in by_loop.items():
        loop.run_callback_threadsafe(_set_in_hub, found)


def _set_in_hub(signals: "list[_CoarseSignal]") -> None:
    for signal in signals:
        signal.set()


class Gathering(Generic[Item]):
    """Gathering of items that greenlets of one hub hand over together, once the event loop has nothing else to do.

    A busy loop hands them over after `MAX_GATHER_S`. Items of other threads, and all items without gevent, are handed
    over immediately. To be created in the hub.
    """

    def __init__(self, hand_over: Callable[[list[Item]], None]) -> None:
        self._hand_over = hand_over
        self._items: list[Item] = []
        self._thread: int | None = None
        if is_cooperative():
            loop = get_hub().loop
            self._idle, self._timer = loop.idle(), loop.timer(MAX_GATHER_S)
            self._thread = _real_ident()

    def add(self, item: Item) -> None:
        if self._thread != _real_ident():
            self._hand_over([item])
            return
        self._items.append(item)
        if len(self._items) == 1:
            self._idle.start(self.flush)
            self._timer.start(self.flush)

    def flush(self) -> None:
        """Hand over what is gathered now. In another thread, do nothing."""
        if self._items and self._thread == _real_ident():
            self._idle.stop()
            self._timer.stop()
            items, self._items = self._items, []
            self._hand_over(items)


def simple_queue() -> Any:
    """Return an unbounded queue. Its `get` blocks a real thread, its `put` never blocks."""
    return monkey.get_original("queue", "SimpleQueue")()


def run_in_thread(target: Callable[[], None]) -> None:
    """Run `target` in a real thread. The process can exit before it ends, so wait for a signal if the end matters."""
    if not is_cooperative():
        start_new_thread(target, ())
        return
    _make_shared_locks_real()
    monkey.get_original("_thread", "start_new_thread")(target, ())


def _make_shared_locks_real() -> None:
    """Replace the locks of libraries that greenlets and real threads share: those of logging and of Django's signals.

    A real thread that releases a cooperative lock does not wake a waiting greenlet: two concurrent log lines could
    block the logging of the process permanently. None of these locks is held across a switch of greenlets, so real
    locks are safe.
    """
    real_lock, real_rlock = (monkey.get_original("_thread", name) for name in ("allocate_lock", "RLock"))
    if isinstance(logging._lock, real_rlock):  # type: ignore[attr-defined]
        return
    logging._lock = real_rlock()  # type: ignore[attr-defined]
    for handler in filter(None, (reference() for reference in logging._handlerList)):  # type: ignore[attr-defined]
        handler.lock = real_rlock()
    connection_created.lock = real_lock()


def sleep(seconds: float) -> None:
    """Sleep in a real thread."""
    monkey.get_original("time", "sleep")(seconds)


def set_all(signals: Iterable["_GreenletSignal | _ThreadSignal"]) -> None:
    """Set all signals."""
    for each in signals:
        each.set_from_thread()


class Background(Generic[Result]):
    """Run of a function, in a greenlet under gevent and in a thread elsewhere. It starts immediately.

    `result` returns or raises what the function returned or raised.
    """

    def __init__(self, function: Callable[[], Result]) -> None:
        self._function = function
        self._done = threading.Event()
        self._result: Result | None = None
        self._error: BaseException | None = None
        threading.Thread(target=self._run, name="background", daemon=True).start()

    def _run(self) -> None:
        try:
            self._result = self._function()
        except BaseException as error:  # raised again by `result`
            self._error = error
        finally:
            self._done.set()

    def wait(self, timeout: float) -> bool:
        """Wait for at most `timeout` seconds and return whether the function has ended."""
        return self._done.wait(timeout)

    def result(self) -> Result:
        """Return the result or raise the error. Call it only after `wait` returned True."""
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]


class OncePerProcess:
    """Call `start` once per process.

    `Application.start` starts everything when a worker starts. A process without the application, such as a management
    command or a test, starts a thread when it first needs it. A child process does not inherit threads, and a boot id
    must not be shared, so a fork makes `start` due again.
    """

    def __init__(self, start: Callable[[], None]) -> None:
        self._start = start
        self._lock = threading.Lock()
        self.is_started = False
        """Whether `start` has been called in this process, and not `reset` since."""
        _instances.add(self)

    def ensure(self) -> None:
        """Call `start` unless it was called in this process. Other threads wait until it returns."""
        if self.is_started:
            return
        with self._lock:
            if not self.is_started:
                self._start()
                self.is_started = True

    def reset(self) -> None:
        """Make `start` due again, after what it started has ended."""
        self.is_started = False

    def forget(self) -> None:
        """Reset in a child process, where a thread of the parent may have held the lock."""
        self._lock = threading.Lock()
        self.is_started = False


_instances: "weakref.WeakSet[OncePerProcess]" = weakref.WeakSet()


def _after_fork() -> None:
    for each in list(_instances):
        each.forget()


os.register_at_fork(after_in_child=_after_fork)
