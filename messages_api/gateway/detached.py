"""
Some vendors bill a whole answer although its caller has left. There the rest is read for the sake of its usage: for as
long as the upstream's `reads_on_s` says, and by at most `settings.READ_ON_CALLS` calls of a worker at a time.
"""

import threading

from django.conf import settings

from messages_api.gateway.attempts import Attempts


class Reading:
    """The right to read on, of which there are so many in a process. Whoever has it ends it."""

    _lock = threading.Lock()
    _count = 0

    @classmethod
    def take(cls) -> "Reading | None":
        with cls._lock:
            if cls._count >= settings.READ_ON_CALLS:
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
                Reading._count -= 1


def begin(attempts: Attempts) -> Reading | None:
    """Let the attempt that serves a call go on for a while without its caller, or return None: it is to be cut."""
    attempt = attempts.current
    if attempt is None or attempt.failure is not None or not attempt.exchange.may_be_billed:
        return None
    if attempt.target.endpoint.reads_on_s <= 0 or (reading := Reading.take()) is None:
        return None
    attempts.be_the_last(within_s=attempt.target.endpoint.reads_on_s)
    return reading
