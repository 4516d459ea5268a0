"""Admin of upstreams, with a connection test."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.defaultfilters import pluralize
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from lib import model_patterns
from lib.admin import cells
from lib.admin.model_admin import GatewayModelAdmin
from lib.admin.render import admin_page
from messages_api.admin import connection_check
from messages_api.admin.forms import ConnectionForm, UpstreamForm
from messages_api.models import ModelCatalog, Upstream
from messages_api.routing.redis_circuits import circuit_breakers
from messages_api.routing.upstream_health import health_of


@admin.register(Upstream)
class UpstreamAdmin(GatewayModelAdmin):
    fieldsets = [
        (None, {"fields": ["name", "dialect", "base_url", "enabled"]}),
        (
            "Credential",
            {"fields": ["credential", "clear_credential"], "description": "API key sent to this upstream."},
        ),
        ("Profile", {"fields": ["profile_preset", "profile_overrides"]}),
        ("Models", {"fields": ["model_names", "listed_models"]}),
        (
            "Timeouts",
            {
                "fields": [
                    ("connect_timeout_s", "first_byte_timeout_s"),
                    ("idle_timeout_s", "request_timeout_s"),
                    "retry_on_timeout",
                ]
            },
        ),
        ("Client disconnects", {"fields": ["continue_after_disconnect_s"]}),
    ]
    form = UpstreamForm
    list_display = ["name", "dialect", "base_url", "credential", "status", "connection"]
    list_filter = ["dialect", "enabled"]
    readonly_fields = ["listed_models"]
    search_fields = ["name", "base_url"]

    @admin.display(description="credential")
    def credential(self, upstream: Upstream) -> str:
        if not upstream.credential_ciphertext or upstream.credential_set_at is None:
            return "not set"
        since = f"{timezone.localtime(upstream.credential_set_at):%Y-%m-%d}"
        return f"set since {since}" if upstream.has_usable_credential() else "unreadable: enter it again"

    @admin.display(description="status", ordering="enabled")
    def status(self, upstream: Upstream) -> SafeString:
        """Health of the upstream as the process that renders this page knows it."""
        health = health_of(upstream)
        badge = cells.badge(health.label, kind=health.kind)
        return format_html('{} <span class="quiet-line">{}</span>', badge, health.detail)

    @admin.display(description="connection")
    def connection(self, upstream: Upstream) -> SafeString:
        return format_html('<a href="{}">Test</a>', reverse("admin:messages_api_upstream_test", args=[upstream.pk]))

    @admin.display(description="listed by the upstream")
    def listed_models(self, upstream: Upstream) -> str:
        """The model list of the upstream, when it was read, and why the last reading failed."""
        catalog: ModelCatalog | None = getattr(upstream, "catalog", None)
        if catalog is None or catalog.base_url != upstream.base_url:
            return "Not read yet."
        count = f"{len(catalog.entries)} model{pluralize(len(catalog.entries))}"
        read = f"{count}, read {timezone.localtime(catalog.listed_at):%Y-%m-%d %H:%M}."
        parts = [read if catalog.listed_at else "Not read yet.", catalog.error and f"Last error: {catalog.error}"]
        return " ".join(part for part in parts if part)

    def get_urls(self) -> list[URLPattern]:
        test = path(
            "<path:object_id>/test/", self.admin_site.admin_view(self.test_view), name="messages_api_upstream_test"
        )
        return [test, *super().get_urls()]

    def test_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show the form for a model name; on POST, send a real request and show its outcome."""
        upstream: Upstream | None = self.get_object(request, unquote(object_id))
        if upstream is None:
            raise Http404
        if not self.has_change_permission(request, upstream):  # the test uses the credential and may be billed
            raise PermissionDenied
        form = ConnectionForm(request.POST or None, initial={"model": _likely_model(upstream)})
        result = None
        if form.is_valid():
            result = connection_check.check_connection(upstream, model=form.cleaned_data["model"])
            if result.ok:
                circuit_breakers.of(upstream.endpoint()).record_success()  # close the circuit: the cause is fixed
            self.log_change(request, upstream, "Connection tested")
        context = {
            "title": "Test connection",
            "subtitle": upstream.name,
            "upstream": upstream,
            "form": form,
            "result": result,
            "opts": self.opts,
        }
        return admin_page(request, "admin/messages_api/upstream/test.html", context)

    def save_model(self, request: HttpRequest, obj: Upstream, form: Any, change: bool) -> None:
        if form.lost_credential:
            messages.warning(request, "The base URL changed, so the stored credential was cleared. Enter it again.")
        super().save_model(request, obj, form, change)


def _likely_model(upstream: Upstream) -> str:
    """Return a model name that this upstream probably knows: from its targets, else from their routes."""
    for target in upstream.targets.select_related("route"):
        name = target.model or target.route.pattern
        if not model_patterns.is_prefix(name):
            return name
    return ""
