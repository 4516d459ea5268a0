"""
Who still calls with a secret that is over: noted in memory, and written every few seconds.

A read does not write, and a caller who tries for ever costs one write in five minutes. Who dies loses the last notes.
"""

import threading
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from keys.models import KeySecret

NOTED_EVERY = timedelta(minutes=5)
MOST = 1_000
"""Of secrets that are remembered until they are written."""


class RejectedUseRecorder:
    """The refused uses that this process has seen and not yet written."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: dict[int, datetime] = {}

    def note(self, secret_id: int) -> None:
        with self._lock:
            if secret_id in self._last or len(self._last) < MOST:
                self._last[secret_id] = timezone.now()

    def write(self) -> None:
        """Write what was noted, in the order of all processes. What the database does not take is tried again."""
        with self._lock:
            noted, self._last = self._last, {}
        if not noted:
            return
        try:
            with transaction.atomic():
                for secret_id in sorted(noted):
                    _touch(secret_id, noted[secret_id])
        except BaseException:
            with self._lock:
                self._last = noted | self._last
            raise

    def clear(self) -> None:
        """Forget what was noted."""
        with self._lock:
            self._last = {}


def _touch(secret_id: int, moment: datetime) -> None:
    stale = Q(last_rejected_at=None) | Q(last_rejected_at__lt=moment - NOTED_EVERY)
    KeySecret.objects.filter(stale, pk=secret_id).update(last_rejected_at=moment)


rejected_uses = RejectedUseRecorder()
