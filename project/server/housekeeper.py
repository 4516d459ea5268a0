"""Periodic tasks of a worker, in one greenlet beside the requests."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.db import Error, connections

from lib.threads import OncePerProcess

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class PeriodicTask:
    """A function that every worker may run at any time, also concurrently with other workers."""

    run: Callable[[], object]
    every_s: float


class Housekeeper:
    """Runs periodic tasks until it is closed. An error of a task is logged and affects no other run."""

    def __init__(self, tasks: Sequence[PeriodicTask]) -> None:
        self._tasks = tasks
        self._closed = threading.Event()
        self._loop = OncePerProcess(self._start_loop)

    def start(self) -> None:
        """Start the loop unless it runs in this process."""
        self._loop.ensure()

    def _start_loop(self) -> None:
        threading.Thread(target=self._run, name="housekeeper", daemon=True).start()

    def close(self) -> None:
        """Stop the loop. May be called twice."""
        self._closed.set()

    def _run(self) -> None:
        due = [time.monotonic() + task.every_s for task in self._tasks]
        while not self._closed.wait(max(0.0, min(due) - time.monotonic())):
            now = time.monotonic()
            for i, task in enumerate(self._tasks):
                if due[i] <= now:
                    due[i] = now + task.every_s
                    _run(task)


def _run(task: PeriodicTask) -> None:
    try:
        task.run()
    except Error as error:
        logger.warning("Periodic task: database unavailable (%s)", type(error).__name__)
    except Exception:  # a bug in one task must not stop the others
        logger.exception("Periodic task failed")
    finally:
        connections.close_all()
