"""
Detached requests: responses that are read to their end after the client disconnected, for their final usage.

Some providers bill a complete response although the client disconnected. The upstream's `continue_after_disconnect_s`
bounds the time, and `settings.MAX_DETACHED_REQUESTS` the detached requests of one worker.
"""

import threading

from django.conf import settings

from messages_api.gateway.attempts import Attempts

_slots = threading.BoundedSemaphore(settings.MAX_DETACHED_REQUESTS)


def try_detach(attempts: Attempts) -> bool:
    """Let the current attempt continue without its client, and take a slot. Call `release_slot` when it ends.

    Return False if the attempt is to be aborted: it is not billed, its upstream has no such setting, or all slots are
    taken.
    """
    attempt = attempts.current
    if attempt is None or attempt.error is not None or not attempt.exchange.may_be_billed:
        return False
    seconds = attempt.target.endpoint.continue_after_disconnect_s
    if seconds <= 0 or not _slots.acquire(blocking=False):
        return False
    attempts.stop_after_current(within_s=seconds)
    return True


def release_slot() -> None:
    _slots.release()
