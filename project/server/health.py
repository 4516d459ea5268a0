"""Whether this process lives, and whether it can serve. Open to everybody, so neither tells why."""

from django.conf import settings
from django.db import Error, connection
from django.http import HttpRequest, HttpResponse

from lib import database_health, deadlines
from messages_api.watcher import watcher


def livez(http_request: HttpRequest) -> HttpResponse:
    """The process answers. Touches nothing else."""
    return HttpResponse("ok", content_type="text/plain")


def readyz(http_request: HttpRequest) -> HttpResponse:
    """The database answers, calls can be recorded, and the process is not about to end; else 503."""
    if watcher.is_draining or database_health.is_unavailable() or not _database_answers():
        response = HttpResponse("not ready", status=503, content_type="text/plain")
        response._has_been_logged = True  # type: ignore[attr-defined]  # whoever asks every second knows it already
        return response
    return HttpResponse("ok", content_type="text/plain")


def _database_answers() -> bool:
    try:
        with deadlines.deadline(settings.DATABASE_TIMEOUT_S), connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:
        return False
    return True
