"""
The time in which the ledger's database does not take anything, and how its end is noticed.

A thread of its own knocks: it opens a connection and asks for nothing. The writer, who has settlements to bring to
safety meanwhile, must not be the one who waits for a server that says nothing.
"""

import logging
import time
from collections.abc import Callable

from django.db.backends.base.base import BaseDatabaseWrapper

from lib import threads

logger = logging.getLogger(__name__)

PROBE_INTERVAL_S = 0.5


class Outage:
    """From the first error to the answer to a knock. Whoever begins it ends it."""

    def __init__(self, error: Exception, connect: Callable[[], BaseDatabaseWrapper]) -> None:
        self.error = error
        self.is_answered = False
        """Whether the database has answered a knock. What is to be written may fail all the same."""
        self._connect = connect
        self._begun_at = time.monotonic()
        self._is_over = False
        logger.error(
            "The ledger's database does not answer (%s): no call is let in, settlements wait", type(error).__name__
        )
        threads.run_in_thread(self._probe)

    def go_on(self) -> None:
        """It was a false hope: knock again."""
        self.is_answered = False
        threads.run_in_thread(self._probe)

    def end(self) -> None:
        self._is_over = True
        logger.warning("The ledger's database is back after %.1f s", time.monotonic() - self._begun_at)

    def abandon(self) -> None:
        """The process ends before the outage does."""
        self._is_over = True

    def _probe(self) -> None:
        connection = self._connect()
        while not self._is_over:
            threads.sleep(PROBE_INTERVAL_S)
            if self._is_over or self._is_answered_by(connection):
                break
        connection.close()

    def _is_answered_by(self, connection: BaseDatabaseWrapper) -> bool:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
        except Exception:  # whatever it is: if nobody knocked any more, the outage would never end
            connection.close()
            return False
        self.is_answered = True
        return True
