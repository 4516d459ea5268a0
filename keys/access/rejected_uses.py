"""
Rejected uses of expired, disabled or revoked secrets: buffered in memory and flushed every 15 s.

Authentication does not write. A client that retries forever costs one write in five minutes. Uses since the last flush
are lost when the process is killed.
"""

import threading
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from keys.models import KeySecret

WRITE_INTERVAL = timedelta(minutes=5)
"""Minimum time between two writes for one secret."""
MAX_BUFFERED = 1_000
"""Number of secrets that the buffer holds."""


class RejectedUseRecorder:
    """The rejected uses that this process has not written yet: the latest of each secret."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latest: dict[int, datetime] = {}

    def record(self, secret_id: int) -> None:
        with self._lock:
            if secret_id in self._latest or len(self._latest) < MAX_BUFFERED:
                self._latest[secret_id] = timezone.now()

    def flush(self) -> None:
        """Write the buffer. On an error, keep it for the next flush and raise."""
        with self._lock:
            latest, self._latest = self._latest, {}
        if not latest:
            return
        try:
            with transaction.atomic():
                # Every process locks the rows in the same order, so that they cannot deadlock.
                for secret_id in sorted(latest):
                    _update(secret_id, latest[secret_id])
        except BaseException:
            with self._lock:
                self._latest = latest | self._latest
            raise

    def clear(self) -> None:
        with self._lock:
            self._latest = {}


def _update(secret_id: int, used_at: datetime) -> None:
    is_due = Q(last_rejected_at=None) | Q(last_rejected_at__lt=used_at - WRITE_INTERVAL)
    KeySecret.objects.filter(is_due, pk=secret_id).update(last_rejected_at=used_at)


rejected_uses = RejectedUseRecorder()
