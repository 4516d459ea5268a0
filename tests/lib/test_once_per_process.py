"""Threads and state of a process start once, and again in a process that was forked from it."""

import os
import threading
import time

from lib.once_per_process import OncePerProcess


def test_start_is_called_once() -> None:
    calls: list[int] = []
    once = OncePerProcess(lambda: calls.append(os.getpid()))

    once.ensure()
    once.ensure()

    assert calls == [os.getpid()]
    assert once.is_started


def test_concurrent_calls_start_it_once_and_wait_for_it() -> None:
    calls: list[int] = []
    seen: list[int] = []

    def start() -> None:
        time.sleep(0.05)
        calls.append(1)

    once = OncePerProcess(start)

    def use() -> None:
        once.ensure()
        seen.append(len(calls))

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert seen == [1] * 8


def test_an_error_leaves_it_to_be_started_again() -> None:
    outcomes = iter([RuntimeError("no"), None])

    def start() -> None:
        if (error := next(outcomes)) is not None:
            raise error

    once = OncePerProcess(start)
    try:
        once.ensure()
    except RuntimeError:
        assert not once.is_started
    once.ensure()

    assert once.is_started


def test_after_a_reset_it_starts_again() -> None:
    calls: list[int] = []
    once = OncePerProcess(lambda: calls.append(1))
    once.ensure()

    once.reset()
    once.ensure()

    assert calls == [1, 1]


def test_a_forked_process_starts_it_again_although_the_lock_was_held() -> None:
    is_starting, may_end = threading.Event(), threading.Event()
    calls: list[int] = []

    def start() -> None:
        calls.append(os.getpid())
        if calls == [parent]:
            is_starting.set()
            may_end.wait(10)

    parent = os.getpid()
    once = OncePerProcess(start)
    starter = threading.Thread(target=once.ensure)
    starter.start()
    assert is_starting.wait(10)

    child = os.fork()
    if child == 0:
        once.ensure()
        os._exit(0 if calls == [parent, os.getpid()] and once.is_started else 1)
    _, status = os.waitpid(child, 0)
    may_end.set()
    starter.join()

    assert os.waitstatus_to_exitcode(status) == 0
    assert calls == [parent] and once.is_started
