"""Real threads beside greenlets, whose shared locks must not block either, and starts once per process."""

import os
import subprocess
import sys
import threading
import time

from lib.threads import OncePerProcess
from tests.support import ROOT

BOTH_LOG = """
from gevent import monkey; monkey.patch_all()
import logging, os
import gevent
from lib import threads as native

class Slow(logging.Handler):
    def emit(self, record):
        for _ in range(200): os.getppid()  # long enough for the interpreter to switch threads

logging.basicConfig(level="INFO", handlers=[Slow()])
logger = logging.getLogger("both")

def log(lines):
    for number in range(lines):
        logger.info("line %d", number)

def log_as_a_greenlet(lines):
    for number in range(lines):
        logger.info("line %d", number)
        gevent.sleep(0)

ended = native.signal()
native.run_in_thread(lambda: (log(5_000), ended.set_from_thread()))
greenlets = [gevent.spawn(log_as_a_greenlet, 250) for _ in range(20)]
gevent.joinall(greenlets)
print(ended.wait(60))
"""


def test_greenlets_and_real_threads_can_log_concurrently() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BOTH_LOG], cwd=ROOT, capture_output=True, text=True, timeout=90, check=False
    )

    assert done.stdout == "True\n", done.stderr


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
