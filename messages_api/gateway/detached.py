"""
Some vendors bill a whole answer although its caller has left. There the rest is read for the sake of its usage: for as
long as the upstream's `continue_after_disconnect_s` says, and by at most
`settings.MAX_DETACHED_REQUESTS` calls of a
worker at a time.
"""

import threading

from django.conf import settings

from messages_api.gateway.attempts import Attempts


class DetachedSlot:
    """The right to read on, of which there are so many in a process. Whoever has it ends it."""

    _lock = threading.Lock()
    _count = 0

    @classmethod
    def take(cls) -> "DetachedSlot | None":
        with cls._lock:
            if cls._count >= settings.MAX_DETACHED_REQUESTS:
                return None
            cls._count += 1
        return cls()

    def __init__(self) -> None:
        self._is_over = False

    def end(self) -> None:
        """Give it back. May be called twice."""
        with self._lock:
            if not self._is_over:
                self._is_over = True
                DetachedSlot._count -= 1


def begin(attempts: Attempts) -> DetachedSlot | None:
    """Let the attempt that serves a call go on for a while without its caller, or return None: it is to be cut."""
    attempt = attempts.current
    if attempt is None or attempt.error is not None or not attempt.exchange.may_be_billed:
        return None
    if attempt.target.endpoint.continue_after_disconnect_s <= 0 or (reading := DetachedSlot.take()) is None:
        return None
    attempts.stop_after_current(within_s=attempt.target.endpoint.continue_after_disconnect_s)
    return reading
