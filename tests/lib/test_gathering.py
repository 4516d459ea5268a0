"""Hand-over from greenlets to a real thread and back: items in groups, and signals that wake a loop once."""

import subprocess
import sys
import threading

from lib import threads
from tests.support import ROOT

GREENLETS = """
from gevent import monkey; monkey.patch_all()
import os, tempfile, time, types
import gevent, gevent.event
from lib import threads

def keep_alive():
    while True: gevent.sleep(0.05)
gevent.spawn(keep_alive)
"""


def run(code: str) -> str:
    """Run code under gevent in a process of its own. Return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", GREENLETS + code], cwd=ROOT, capture_output=True, text=True, timeout=90, check=False
    )
    assert not done.returncode, done.stderr
    return done.stdout


GROUPS = """
handed = []
gathering = threads.Gathering(lambda items: handed.append(len(items)))
ready = gevent.event.Event()

def submit():
    ready.wait()
    gathering.add(1)

greenlets = [gevent.spawn(submit) for _ in range(16)]
gevent.sleep(0)
ready.set()
gevent.joinall(greenlets)
while not handed: gevent.sleep(0.001)
print(handed)
"""


def test_items_of_the_same_turn_are_handed_over_together() -> None:
    assert run(GROUPS) == "[16]\n"


ALONE = """
threads.MAX_GATHER_S = 3600
handed = []
gathering = threads.Gathering(lambda items: handed.append(items))
gathering.add("only")
before = list(handed)
while not handed: gevent.sleep(0.001)
print(before, handed)
"""


def test_a_single_item_does_not_wait_for_others() -> None:
    assert run(ALONE) == "[] [['only']]\n"


BUSY = """
handed = []
gathering = threads.Gathering(lambda items: handed.append(items))
gathering._idle = types.SimpleNamespace(start=lambda callback: None, stop=lambda: None)  # the loop is never idle
gathering.add("first"); gathering.add("second")
while not handed: gevent.sleep(0.001)
print(handed)
"""


def test_a_busy_loop_hands_over_after_a_while() -> None:
    assert run(BUSY) == "[['first', 'second']]\n"


OTHER_THREAD = """
handed = []
gathering = threads.Gathering(handed.append)
gathering.add("of the hub")
ended = threads.signal()

def in_thread():
    gathering.flush()                 # does nothing here
    gathering.add("of a thread")
    ended.set_from_thread()

threads.run_in_thread(in_thread)
deadline = time.monotonic() + 60
real_sleep = monkey.get_original("time", "sleep")
while not handed and time.monotonic() < deadline: real_sleep(0.001)   # the loop does not run
print(handed)
gathering.flush()
print(handed)
print(ended.wait(60))
"""


def test_items_of_another_thread_are_handed_over_immediately() -> None:
    assert run(OTHER_THREAD).splitlines() == ["[['of a thread']]", "[['of a thread'], ['of the hub']]", "True"]


def test_without_greenlets_items_are_handed_over_one_by_one() -> None:
    handed: list[list[int]] = []
    gathering = threads.Gathering(handed.append)

    gathering.add(1)
    gathering.add(2)

    assert handed == [[1], [2]]


SIGNALS = """
signals = [threads.coarse_signal() for _ in range(8)]
waiting = [gevent.spawn(signal.wait, 60) for signal in signals[:6]]
gevent.sleep(0)
callbacks = []
loop = gevent.get_hub().loop
run_callback_threadsafe = type(loop).run_callback_threadsafe

class Counting(threads._CoarseSignal):
    __slots__ = ()
    @property
    def loop(self):
        return counted

class _Loop:
    def run_callback_threadsafe(self, *arguments):
        callbacks.append(arguments[0].__name__)
        return loop.run_callback_threadsafe(*arguments)

counted = _Loop()
more = [Counting() for _ in range(5)]
waiting += [gevent.spawn(signal.wait, 60) for signal in more]
gevent.sleep(0)
threads.run_in_thread(lambda: threads.set_coarse_signals([*signals[:7], *more]))
gevent.joinall(waiting, timeout=60)
print([greenlet.value for greenlet in waiting])
print(callbacks)
print(signals[6].wait(60), signals[7].wait(0.01))
"""


def test_a_thread_wakes_all_waiting_greenlets_of_a_loop_with_one_callback() -> None:
    lines = run(SIGNALS).splitlines()

    assert lines == [str([True] * 11), "['_set_in_hub']", "True False"]


LATE = """
signal = threads.coarse_signal()
print(signal.wait(0.01))
threads.run_in_thread(signal.set_from_thread)
print(signal.wait(60), signal.wait(0))
hub = gevent.get_hub()
ticker = threads._ticker_of(hub)
while ticker._timer.active: gevent.sleep(0.01)
print(dict(ticker._ends))
"""


def test_a_signal_may_be_set_after_its_waiter_gave_up_and_no_timer_remains() -> None:
    assert run(LATE).splitlines() == ["False", "True True", "{}"]


def test_signals_of_threads_are_set_together() -> None:
    signals = [threads.coarse_signal() for _ in range(3)]
    results: list[bool] = []
    waiting = [threading.Thread(target=lambda each=each: results.append(each.wait(60))) for each in signals]
    for thread in waiting:
        thread.start()

    threads.set_coarse_signals(signals)

    for thread in waiting:
        thread.join()
    assert results == [True] * 3


BATCHES = """
os.environ.update(DJANGO_SETTINGS_MODULE="project.settings", ENV_FILE="/nonexistent", SECRET_KEY="k" * 50)
os.environ["STATE_DIR"] = tempfile.mkdtemp()
import django; django.setup()
from keys.usage.group_commit import GroupCommit

class Statement:
    error = None
    def abandon(self, error, *, is_in_doubt): return error
    def committed_after_abandon(self): pass

sizes = []
writer = GroupCommit(
    lambda statements, connection: sizes.append(len(statements)),
    chores={}, check=lambda: None, flush=lambda: None, chore_interval_s=3600,
)

def client():
    for _ in range(20):
        assert writer.submit(Statement()).wait(60)

writer.start()
gevent.joinall([gevent.spawn(client) for _ in range(16)], raise_error=True)
writer.close()
print(sum(sizes), sum(sizes) / len(sizes) >= 8)
"""


def test_sixteen_concurrent_requests_share_their_commits() -> None:
    assert run(BATCHES) == "320 True\n"
