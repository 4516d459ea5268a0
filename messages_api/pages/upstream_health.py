"""Page of the health of upstreams: figures, circuits and their history, rate limits of providers, errors."""

from collections.abc import Callable
from typing import Any

from django.contrib.auth.decorators import permission_required
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.views.decorators.http import require_GET

from lib.admin.render import admin_page
from messages_api.models import Incident
from messages_api.upstream_status import figures
from messages_api.upstream_status.overview import status_overview

TEMPLATE = "admin/messages_api/upstream_health.html"
SHOWN_INCIDENTS = 20


@require_GET
@permission_required("messages_api.view_upstream", raise_exception=True)
def upstream_health(request: HttpRequest) -> HttpResponse:
    """Show the upstreams and their targets in the range of the query string."""
    asked = request.GET.get("range", figures.DEFAULT_RANGE)
    chosen = asked if asked in figures.RANGES else figures.DEFAULT_RANGE
    incidents = Incident.objects.none()
    if request.user.has_perm("messages_api.view_incident"):
        incidents = Incident.objects.filter(ended_at=None)
    context = {
        "title": "Upstream health",
        "ranges": figures.RANGES,
        "overview": status_overview(chosen),
        "is_unknown_range": asked != chosen,
        "incidents": incidents[:SHOWN_INCIDENTS],
    }
    return admin_page(request, TEMPLATE, context)


def urls(admin_view: Callable[[Any], Any]) -> list[URLPattern]:
    """Return the URL pattern, with the view wrapped in the admin site's `admin_view`."""
    return [path("upstreams/", admin_view(upstream_health), name="upstream_health")]
