"""The model servers and the routes to them."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from lib import model_patterns
from lib.admin import cells
from lib.admin.field_labels import LabeledInlineFormSet
from lib.admin.model_admin import GatewayModelAdmin, GatewayTabularInline
from lib.admin.render import admin_page
from messages_api.admin import connection_check
from messages_api.admin.forms import ConnectionForm, PreviewForm, UpstreamForm
from messages_api.models import Route, RouteTarget, Upstream
from messages_api.routing.circuit_registry import circuit_breakers
from messages_api.routing.preview import preview_route
from messages_api.routing.upstream_health import health_of


@admin.register(Upstream)
class UpstreamAdmin(GatewayModelAdmin):
    fieldsets = [
        (None, {"fields": ["name", "dialect", "base_url", "enabled"]}),
        ("Credential", {"fields": ["credential", "clear_credential"], "description": "What we show to this upstream."}),
        ("Profile", {"fields": ["profile_preset", "profile_overrides"]}),
        (
            "Deadlines",
            {
                "fields": [
                    ("connect_timeout_s", "first_byte_timeout_s"),
                    ("idle_timeout_s", "request_timeout_s"),
                    "retry_on_timeout",
                ]
            },
        ),
        ("When a caller leaves", {"fields": ["continue_after_disconnect_s"]}),
    ]
    form = UpstreamForm
    list_display = ["name", "dialect", "base_url", "credential", "state", "connection"]
    list_filter = ["dialect", "enabled"]
    search_fields = ["name", "base_url"]

    @admin.display(description="credential")
    def credential(self, upstream: Upstream) -> str:
        if not upstream.credential_ciphertext or upstream.credential_set_at is None:
            return "none"
        since = f"{timezone.localtime(upstream.credential_set_at):%Y-%m-%d}"
        return f"set since {since}" if upstream.has_usable_credential() else "cannot be read: enter it again"

    @admin.display(description="state", ordering="enabled")
    def state(self, upstream: Upstream) -> SafeString:
        """Whether it is asked, and if not, why and until when, as the process that shows this page knows it."""
        health = health_of(upstream)
        badge = cells.badge(health.label, kind=health.kind)
        return format_html('{} <span class="quiet-line">{}</span>', badge, health.detail)

    @admin.display(description="connection")
    def connection(self, upstream: Upstream) -> SafeString:
        return format_html('<a href="{}">Test</a>', reverse("admin:messages_api_upstream_test", args=[upstream.pk]))

    def get_urls(self) -> list[URLPattern]:
        test = path(
            "<path:object_id>/test/", self.admin_site.admin_view(self.test_view), name="messages_api_upstream_test"
        )
        return [test, *super().get_urls()]

    def test_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Make a real call and show how it went. A GET only asks for the model's name."""
        upstream: Upstream | None = self.get_object(request, unquote(object_id))
        if upstream is None:
            raise Http404
        if not self.has_change_permission(request, upstream):  # it uses the credential, and may cost
            raise PermissionDenied
        form = ConnectionForm(request.POST or None, initial={"model": _known_model(upstream)})
        result = None
        if form.is_valid():
            result = connection_check.test_connection(upstream, model=form.cleaned_data["model"])
            if result.ok:
                circuit_breakers.of(upstream.endpoint()).record_success()  # what it was skipped for has been mended
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


def _known_model(upstream: Upstream) -> str:
    """A model's name that this upstream is likely to know: from its targets, else from their routes."""
    for target in upstream.targets.select_related("route"):
        name = target.model or target.route.pattern
        if not model_patterns.is_prefix(name):
            return name
    return ""


class RouteTargetFormSet(LabeledInlineFormSet):
    default_error_messages = {"too_few_forms": "A route needs a target: calls that match it would be refused."}


class RouteTargetInline(GatewayTabularInline):
    formset = RouteTargetFormSet
    min_num = 1
    model = RouteTarget

    def get_formset(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        return super().get_formset(request, obj, validate_min=True, **kwargs)


@admin.register(Route)
class RouteAdmin(GatewayModelAdmin):
    change_list_template = "admin/messages_api/route/change_list.html"
    inlines = [RouteTargetInline]
    list_display = ["pattern", "goes_to"]
    search_fields = ["pattern"]

    @admin.display(description="targets")
    def goes_to(self, route: Route) -> str:
        return ", ".join(str(target) for target in route.targets.all()) or "none: its calls are refused"

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("targets__upstream")

    def get_urls(self) -> list[URLPattern]:
        preview = path("preview/", self.admin_site.admin_view(self.preview_view), name="messages_api_route_preview")
        return [preview, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        return super().changelist_view(request, {"preview_form": PreviewForm(), **(extra_context or {})})

    def preview_view(self, request: HttpRequest) -> HttpResponse:
        """Which targets a model would be answered by now, and why. Changes nothing."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        form, preview = PreviewForm(request.GET or None), None
        if form.is_valid():
            try:
                preview = preview_route(form.cleaned_data["model"], public_id=form.cleaned_data["key"].strip())
            except LookupError:
                form.add_error("key", "There is no such key.")
        context = {
            "title": "Which target answers?",
            "form": form,
            "preview": preview,
            "opts": self.opts,
        }
        return admin_page(request, "admin/messages_api/route/preview.html", context)
