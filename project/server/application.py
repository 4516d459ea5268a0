"""WSGI application of a worker, with startup, drain and graceful shutdown."""

import gc
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from django.core.handlers.wsgi import WSGIHandler
from django.db import Error as DatabaseError
from django.db import connection
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.urls import get_resolver
from django.utils.log import log_response

from keys.access import snapshot_cache
from keys.access.rejected_uses import rejected_uses
from keys.errors import LedgerUnavailable
from keys.hygiene import weekly_notification
from keys.limits.limiter import limiter
from keys.notifications import delivery
from keys.pricing.price_book import prices
from keys.usage import ledger, record_table, reporting_zone, rerating, zone_change
from lib import deadlines
from lib.cached import REFRESH_INTERVAL_S
from lib.shared_store import store
from messages_api.errors import RequestError
from messages_api.gateway import revocation
from messages_api.routing import model_catalog
from messages_api.routing.route_table import routes
from messages_api.watcher import watcher
from project import checks
from project.server.connections import Kind, kind_of
from project.server.housekeeper import Housekeeper, PeriodicTask

READ_WITHIN_S = 2.0
FINISH_WITHIN_S = 2.0
GC_THRESHOLDS = (10_000, 20, 20)
PERIODIC_TASKS = [
    PeriodicTask(run=revocation.terminate_requests_of_compromised_keys, every_s=5),
    PeriodicTask(run=delivery.send_pending, every_s=5),
    PeriodicTask(run=reporting_zone.follow, every_s=5),
    PeriodicTask(run=zone_change.apply_slice, every_s=1),
    PeriodicTask(run=rerating.run_slice, every_s=1),
    PeriodicTask(run=rejected_uses.flush, every_s=15),
    PeriodicTask(run=weekly_notification.queue, every_s=600),
    PeriodicTask(run=record_table.create_coming, every_s=3600),
]
REFRESH_TASKS = [
    PeriodicTask(run=snapshot_cache.cache.refresh, every_s=snapshot_cache.REFRESH_INTERVAL_S),
    PeriodicTask(run=routes.refresh_ahead, every_s=REFRESH_INTERVAL_S),
    PeriodicTask(run=prices.refresh_ahead, every_s=REFRESH_INTERVAL_S),
]
"""Tasks that read what requests have cached. They run apart from those that a slow mail server delays."""
UPSTREAM_TASKS = [PeriodicTask(run=model_catalog.refresh, every_s=5)]
"""Tasks that wait for upstreams. They run apart from those that must not be late."""


def _relieve_collector() -> None:
    """Exempt what is loaded from garbage collection, and collect less often than after 700 new objects."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


class Application(WSGIHandler):
    """The WSGI application. The hooks of gunicorn call `start`, `drain` and `close`; other servers may not."""

    def __init__(self) -> None:
        checks.refuse_to_start()
        super().__init__()
        self._housekeepers = [Housekeeper(tasks) for tasks in (PERIODIC_TASKS, REFRESH_TASKS, UPSTREAM_TASKS)]

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        """Respond to a request. The complete response to an API request is a list with its body."""
        if kind_of(environ["PATH_INFO"]) is not Kind.API:
            return super().__call__(environ, start_response)
        # Without the signals of a request: their receivers close database connections, which `_respond` does too,
        # and caches, which API requests do not use. Without the prefix of URLs, which API responses do not contain.
        response = self._respond(self.request_class(environ))
        status = f"{response.status_code} {response.reason_phrase}"
        start_response(status, list(response.items()))
        if isinstance(response, HttpResponse):
            return [response.content]
        response._handler_class = self.__class__  # type: ignore[attr-defined]
        return response  # a stream: iterable, and to be closed

    def _respond(self, request: HttpRequest) -> HttpResponseBase:
        """Respond as `get_response` does, without the note of the root URL configuration, which is the default."""
        response: HttpResponseBase = self._middleware_chain(request)  # type: ignore[attr-defined]
        if response.status_code >= 400:
            log_response("%s: %s", response.reason_phrase, request.path, response=response, request=request)  # type: ignore[arg-type]
        deadlines.release_connections()
        return response

    def get_response(self, request: HttpRequest) -> HttpResponseBase:
        """Release the database before a response is written: clients that do not read would occupy the whole pool."""
        response = super().get_response(request)
        deadlines.release_connections()
        return response

    def start(self) -> None:
        """Start the background threads and load what the first request needs. Called in the worker, after the fork."""
        _ = get_resolver().url_patterns
        with suppress(DatabaseError), deadlines.deadline(READ_WITHIN_S):
            reporting_zone.start()
        # Every background thread of the worker starts here.
        ledger.start()
        store.start()
        limiter.start()
        watcher.start()
        for housekeeper in self._housekeepers:
            housekeeper.start()
        # Without the database, the first request loads the tables.
        with suppress(RequestError, LedgerUnavailable), deadlines.deadline(READ_WITHIN_S):
            routes.table()
            prices.book()
        connection.close()
        _relieve_collector()

    def drain(self, *, within_s: float) -> None:
        """Reject new requests. In-flight requests may continue for `within_s`, then they end with an error."""
        watcher.drain(at=time.monotonic() + within_s)

    def close(self) -> None:
        """End detached requests and other in-flight ones, write all settlements, and stop the background threads."""
        for housekeeper in self._housekeepers:
            housekeeper.close()
        watcher.finish(within_s=FINISH_WITHIN_S)
        ledger.close()
        limiter.close()
        store.close()
        with suppress(DatabaseError), deadlines.deadline(FINISH_WITHIN_S):
            reporting_zone.release()
