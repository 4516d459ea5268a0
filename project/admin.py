"""The site that admins see: Django's own, with the gateway's name and pages."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path, reverse
from django.utils import timezone

from keys import reports, views
from keys.models import APIKey, UsageRecord
from messages_api.models import Route, Upstream

APP_ORDER = ["keys", "messages_api", "auth"]


class GatewayAdminSite(admin.AdminSite):
    site_title = "messages-gateway"
    site_header = "messages-gateway"
    site_url = None
    index_title = "Overview"
    enable_nav_sidebar = True

    def get_urls(self) -> list[URLPattern | URLResolver]:
        return [
            path("usage/", self.admin_view(views.usage), name="usage"),
            path("usage.csv", self.admin_view(views.usage_csv), name="usage_csv"),
            *super().get_urls(),
        ]

    def model_names(self) -> list[str]:
        """The models that have a route, by name or by pattern: what the forms of keys offer."""
        return list(Route.objects.exclude(pattern="*").values_list("pattern", flat=True))

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """In the order in which people need it: keys and usage, model servers, then who may enter here."""
        apps = super().get_app_list(request, app_label)
        return sorted(apps, key=lambda app: APP_ORDER.index(app["app_label"]) if app["app_label"] in APP_ORDER else 9)

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        overview: dict[str, Any] = {}
        if request.user.has_perm("keys.view_usagerecord"):
            today = timezone.localdate()
            overview["today"] = reports.totals(reports.Period(first=today, last=today))
        if request.user.is_superuser:
            overview["first_steps"] = _first_steps()
        return super().index(request, overview | (extra_context or {}))


def _first_steps() -> list[dict[str, Any]]:
    """What a new installation still needs, in order; empty once calls come in."""
    if UsageRecord.objects.exists():
        return []
    return [
        {
            "text": "Add an upstream: the model server that answers, and what to show to it.",
            "address": reverse("admin:messages_api_upstream_add"),
            "done": Upstream.objects.exists(),
        },
        {
            "text": "Add a route: which models go there. * stands for every model.",
            "address": reverse("admin:messages_api_route_add"),
            "done": Route.objects.exists(),
        },
        {
            "text": "Issue a key, and send a first call with it: the page that shows the key has the lines to paste.",
            "address": reverse("admin:keys_apikey_add"),
            "done": APIKey.objects.exists(),
        },
    ]
