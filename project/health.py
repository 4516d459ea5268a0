"""Whether this process lives, and whether it can serve. Open to everybody, so neither tells why."""

from django.db import Error, connection
from django.http import HttpRequest, HttpResponse

from messages_api.watcher import watcher


def livez(http_request: HttpRequest) -> HttpResponse:
    """The process answers. Touches nothing else."""
    return HttpResponse("ok", content_type="text/plain")


def readyz(http_request: HttpRequest) -> HttpResponse:
    """The database answers and the process is not about to end; else 503."""
    if watcher.is_draining or not _database_answers():
        return HttpResponse("not ready", status=503, content_type="text/plain")
    return HttpResponse("ok", content_type="text/plain")


def _database_answers() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:
        return False
    return True
