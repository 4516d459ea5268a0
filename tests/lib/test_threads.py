"""Real threads beside greenlets: shared locks must not block either."""

import subprocess
import sys

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
