"""
Detection of a database outage's end, by a probe in a thread of its own.

The writer has settlements to spool meanwhile, so it must not be the thread that waits for an unresponsive server.
"""

import logging
import time
from collections.abc import Callable

from django.db.backends.base.base import BaseDatabaseWrapper

from lib import threads

logger = logging.getLogger(__name__)

PROBE_INTERVAL_S = 0.5


class Outage:
    """An outage, from the first error until the writer ends it. Probes the database in the meantime."""

    def __init__(self, error: Exception, connect: Callable[[], BaseDatabaseWrapper]) -> None:
        self.error = error
        self.is_probe_successful = False
        """Whether the database responded to a probe. Writes may still fail."""
        self._connect = connect
        self._started_at = time.monotonic()
        self._is_over = False
        logger.error("Ledger database unavailable (%s): rejecting requests, spooling settlements", type(error).__name__)
        threads.run_in_thread(self._probe_until_success)

    def resume_probing(self) -> None:
        """Probe again: the database responded to a probe, but not to the writer."""
        self.is_probe_successful = False
        threads.run_in_thread(self._probe_until_success)

    def end(self) -> None:
        self._is_over = True
        logger.warning("Ledger database available again after %.1f s", time.monotonic() - self._started_at)

    def abandon(self) -> None:
        """Stop probing, because the process ends before the outage."""
        self._is_over = True

    def _probe_until_success(self) -> None:
        connection = self._connect()
        while not self._is_over:
            threads.sleep(PROBE_INTERVAL_S)
            if self._is_over or self._probe(connection):
                break
        connection.close()

    def _probe(self, connection: BaseDatabaseWrapper) -> bool:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
        except Exception:  # keep probing after any error; otherwise recovery would never be detected
            connection.close()
            return False
        self.is_probe_successful = True
        return True
