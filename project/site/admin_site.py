"""Admin site of the gateway: pages, login steps, navigation and overview."""

from typing import Any

from django.contrib import admin
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path, reverse
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache

from keys.pages.urls import report_links, report_urls
from lib.model_patterns import EVERY_MODEL
from messages_api.models import Route
from project.site.overview import overview_for
from staff import login as staff_login
from staff import two_factor
from staff import views as staff_views

APP_ORDER = ["keys", "messages_api", "staff", "auth"]
STEPS = {"verify": "admin:two_factor_verify", "set up": "admin:two_factor"}


class GatewayAdminSite(admin.AdminSite):
    site_title = "messages-gateway"
    site_header = "messages-gateway"
    site_url = None
    index_title = "Overview"
    enable_nav_sidebar = True

    def get_urls(self) -> list[URLPattern | URLResolver]:
        return [
            *report_urls(self.admin_view),
            path("two-factor/", staff_views.manage, name="two_factor"),
            path("two-factor/code/", staff_views.verify, name="two_factor_verify"),
            path("two-factor/image.svg", staff_views.image, name="two_factor_image"),
            path("logout/", never_cache(self.logout), name="logout"),  # also for users who have not entered a code
            *super().get_urls(),
        ]

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """Forbid browsers and proxies to cache any page, including those that Django marks as cacheable."""
        return super().admin_view(view, cacheable=False)

    # ---- Access.

    def has_permission(self, request: HttpRequest) -> bool:
        return _is_staff(request) and two_factor.missing_step(request.user) is None

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show Django's login page; the lockout page or the page of the missing step where one applies."""
        if request.method == "GET" and _is_staff(request) and (step := two_factor.missing_step(request.user)):
            query = urlencode({REDIRECT_FIELD_NAME: request.GET.get(REDIRECT_FIELD_NAME, "")})
            return HttpResponseRedirect(f"{reverse(STEPS[step])}?{query}")
        response = super().login(request, extra_context)
        if request.method == "POST" and (rejected := staff_login.rejection(request)):
            return rejected
        if _is_staff(request) and two_factor.missing_step(request.user) is None:
            staff_login.succeeded(request)
        return response

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        context = {"is_two_factor_offered": two_factor.is_offered(), "report_links": report_links(request.user)}
        return super().each_context(request) | context

    # ---- Content.

    def model_names(self) -> list[str]:
        """Return the names and patterns of routes, which the forms of API keys suggest."""
        return list(Route.objects.exclude(pattern=EVERY_MODEL).values_list("pattern", flat=True))

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """Sort the apps: API keys and usage, upstreams, access."""
        apps = super().get_app_list(request, app_label)
        return sorted(apps, key=lambda app: APP_ORDER.index(app["app_label"]) if app["app_label"] in APP_ORDER else 9)

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        return super().index(request, overview_for(request.user) | (extra_context or {}))


def _is_staff(request: HttpRequest) -> bool:
    return request.user.is_active and request.user.is_staff
