"""What a worker does besides its calls: small chores, each every few seconds, in a greenlet of their own."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.db import Error, connections

from lib.once_per_process import OncePerProcess

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class PeriodicTask:
    """Something that may be done by every worker, at any time, twice."""

    do: Callable[[], object]
    every_s: float


class Housekeeper:
    """Does chores until it is closed. An error of one is logged and holds up neither the others nor the next turn."""

    def __init__(self, chores: Sequence[PeriodicTask]) -> None:
        self._chores = chores
        self._closed = threading.Event()
        self._loop = OncePerProcess(self._start_loop)

    def start(self) -> None:
        """Start the loop unless it runs in this process."""
        self._loop.ensure()

    def _start_loop(self) -> None:
        threading.Thread(target=self._run, name="housekeeper", daemon=True).start()

    def close(self) -> None:
        """May be called twice."""
        self._closed.set()

    def _run(self) -> None:
        due = [time.monotonic() + chore.every_s for chore in self._chores]
        while not self._closed.wait(max(0.0, min(due) - time.monotonic())):
            now = time.monotonic()
            for i, chore in enumerate(self._chores):
                if due[i] <= now:
                    due[i] = now + chore.every_s
                    _do(chore)


def _do(chore: PeriodicTask) -> None:
    try:
        chore.do()
    except Error as error:
        logger.warning("A chore waits for the database (%s)", type(error).__name__)
    except Exception:  # ours: it must not stop the others
        logger.exception("A chore failed")
    finally:
        connections.close_all()
