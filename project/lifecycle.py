"""The application of one worker: Django's handler with a beginning and an honest end."""

import time

from django.core.handlers.wsgi import WSGIHandler
from django.urls import get_resolver

from keys import ledger
from keys.limits import limiter
from keys.store import store
from messages_api.watcher import watcher
from project import checks

FINISH_WITHIN_S = 2.0


class Application(WSGIHandler):
    """What gunicorn serves. Its hooks call `start`, `drain` and `close`; another server may leave them out."""

    def __init__(self) -> None:
        checks.refuse_to_start()
        super().__init__()

    def start(self) -> None:
        """Load what the first call needs, and settle what dead workers left without waiting for it."""
        _ = get_resolver().url_patterns
        ledger.start()

    def drain(self, *, within_s: float) -> None:
        """Let no new call in. Running ones may go on for so long, then they are ended with an error that says so."""
        watcher.drain(at=time.monotonic() + within_s)

    def close(self) -> None:
        """End what runs without a connection of its own, such as a call that is read on, and write what is settled."""
        watcher.finish(within_s=FINISH_WITHIN_S)
        ledger.close()
        limiter.close()
        store.close()
