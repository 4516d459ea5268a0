"""Liveness and readiness of a worker. Public, so the responses contain no details."""

from django.conf import settings
from django.db import Error, connection
from django.http import HttpRequest, HttpResponse

from lib import database_health, deadlines
from messages_api.watcher import watcher


def livez(http_request: HttpRequest) -> HttpResponse:
    """Respond without any dependency."""
    return HttpResponse("ok", content_type="text/plain")


def readyz(http_request: HttpRequest) -> HttpResponse:
    """Return 200 if the database responds, records can be written and the worker is not draining; else 503."""
    if watcher.is_draining or database_health.is_unavailable() or not _database_responds():
        response = HttpResponse("not ready", status=503, content_type="text/plain")
        response._has_been_logged = True  # type: ignore[attr-defined]  # probes repeat every few seconds: no log line for each
        return response
    return HttpResponse("ok", content_type="text/plain")


def _database_responds() -> bool:
    try:
        with deadlines.deadline(settings.DATABASE_TIMEOUT_S), connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:
        return False
    return True
