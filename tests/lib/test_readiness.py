"""Readiness of a socket: waits and their deadlines, in greenlets and in threads."""

import subprocess
import sys

import pytest

from tests.support import ROOT

GREENLETS = "from gevent import monkey; monkey.patch_all()\n"
WAITS = """
import math, socket, threading, time
from lib.readiness import readiness

near, far = socket.socketpair()
near.setblocking(False)
ready = readiness(near)

def timed(wait, seconds):
    began = time.monotonic()
    is_ready = wait(began + seconds)
    took = time.monotonic() - began
    return is_ready, "early" if not is_ready and took < seconds else "late" if took > seconds + 5 else "in time"

def later(seconds, act):
    threading.Timer(seconds, act).start()

def receive():
    return near.recv(100)

print("nothing arrives", timed(ready.wait_read, 0.2))
far.send(b"a")
print("bytes have arrived", timed(ready.wait_read, 10), receive())
later(0.1, lambda: far.send(b"b"))
print("bytes arrive", timed(ready.wait_read, 60), receive())
print("a shorter wait after a longer one", timed(ready.wait_read, 0.1))
print("a longer wait after a shorter one", timed(ready.wait_read, 0.4))
far.send(b"c")
time.sleep(0.1)
print("bytes that arrived between two waits", timed(ready.wait_read, 10), receive())
print("an expired deadline", timed(ready.wait_read, -1))
print("room to send", timed(ready.wait_write, 10))
try:
    while True:
        near.send(b"x" * 65536)
except BlockingIOError:
    print("no room to send", timed(ready.wait_write, 0.2))
later(0.1, lambda: far.recv(10_000_000))
print("room comes", timed(ready.wait_write, 60))
later(0.1, lambda: near.shutdown(socket.SHUT_RDWR))
print("a shutdown", ready.wait_read(math.inf), receive())
ready.close()
near.close()
far.close()
"""
EXPECTED = """
nothing arrives (False, 'in time')
bytes have arrived (True, 'in time') b'a'
bytes arrive (True, 'in time') b'b'
a shorter wait after a longer one (False, 'in time')
a longer wait after a shorter one (False, 'in time')
bytes that arrived between two waits (True, 'in time') b'c'
an expired deadline (False, 'in time')
room to send (True, 'in time')
no room to send (False, 'in time')
room comes (True, 'in time')
a shutdown True b''
"""
IDLE = """
import gevent, socket
from lib.readiness import readiness

near, far = socket.socketpair()
near.setblocking(False)
ready = readiness(near)
calls = []
ready.watch_idle(lambda: calls.append(1))
gevent.sleep(0.05)
print(calls)
far.send(b"a")
gevent.sleep(0.1)
print(calls)
near.recv(1)
ready.watch_idle(None)
far.send(b"a")
gevent.sleep(0.1)
print(calls)
near.recv(1)
waiting = gevent.spawn(ready.wait_read, 1e9)
gevent.sleep(0.05)
ready.close()
waiting.join(5)
print(waiting.value)
"""


def run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("kind", [pytest.param(GREENLETS, id="greenlets"), pytest.param("", id="threads")])
def test_a_wait_ends_with_the_event_or_at_its_deadline(kind: str) -> None:
    assert run(kind + WAITS) == EXPECTED.lstrip()


def test_an_idle_socket_is_watched_until_something_waits_for_it_and_a_close_ends_the_wait() -> None:
    assert run(GREENLETS + IDLE) == "[]\n[1]\n[1]\nTrue\n"
