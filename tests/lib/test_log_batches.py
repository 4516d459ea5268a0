"""Log lines in batches: in order, immediately where they matter, and none lost at an exit."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO

import pytest

from lib import log_batches
from lib.log_batches import MAX_LINES, BatchedHandler
from tests.support.gateway import wait_until

PROGRAM = """
import logging, sys, time
from lib import log_batches
logging.basicConfig(handlers=[log_batches.BatchedHandler()], level="INFO", format="%(message)s")
log_batches.begin()
logging.info("first")
logging.info("second")
print("logged", flush=True)
"""


@pytest.fixture
def handler() -> Iterator[BatchedHandler]:
    handler = BatchedHandler()
    handler.setStream(StringIO())
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    yield handler
    log_batches._handlers.discard(handler)


def log(handler: BatchedHandler, level: int, message: str) -> None:
    handler.handle(logging.LogRecord("name", level, "file", 1, message, None, None))


def written(handler: BatchedHandler) -> list[str]:
    return handler.stream.getvalue().splitlines()


def test_lines_are_written_immediately_without_batches(handler: BatchedHandler) -> None:
    log(handler, logging.INFO, "a")
    assert written(handler) == ["INFO a"]


def test_lines_are_written_with_the_batch(handler: BatchedHandler) -> None:
    handler.is_batching = True
    log(handler, logging.INFO, "a")
    log(handler, logging.INFO, "b")
    assert written(handler) == []
    log_batches.flush()
    assert written(handler) == ["INFO a", "INFO b"]


@pytest.mark.parametrize("level", [logging.WARNING, logging.ERROR, logging.CRITICAL])
def test_a_problem_is_written_immediately_and_in_order(handler: BatchedHandler, level: int) -> None:
    handler.is_batching = True
    log(handler, logging.INFO, "a")
    log(handler, level, "b")
    assert written(handler) == ["INFO a", f"{logging.getLevelName(level)} b"]


def test_a_batch_is_bounded(handler: BatchedHandler) -> None:
    handler.is_batching = True
    for number in range(MAX_LINES):
        log(handler, logging.INFO, str(number))
    assert written(handler) == [f"INFO {number}" for number in range(MAX_LINES)]


def test_a_closed_stream_is_no_error_of_the_flush(handler: BatchedHandler) -> None:
    handler.is_batching = True
    log(handler, logging.INFO, "a")
    handler.stream.close()
    log_batches.flush()


@pytest.mark.parametrize(
    "ending", ["", "sys.exit(3)", "raise RuntimeError", "logging.shutdown(); import os; os._exit(0)"]
)
def test_a_process_that_exits_has_written_all_lines(ending: str) -> None:
    ended = subprocess.run([sys.executable, "-c", PROGRAM + ending], capture_output=True, text=True)
    assert ended.stderr.splitlines()[-2:] == ["first", "second"]


def test_a_killed_process_loses_its_last_batch_only() -> None:
    program = (
        PROGRAM.replace('logging.info("second")', 'log_batches.flush(); logging.info("second")') + "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == b"logged\n"
        os.kill(process.pid, signal.SIGKILL)
        assert process.stderr.read().splitlines() == [b"first"]
        wait_until(lambda: process.poll() is not None)
