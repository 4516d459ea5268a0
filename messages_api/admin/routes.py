"""Admin of routes, with a routing test."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path

from lib.admin.field_labels import LabeledInlineFormSet
from lib.admin.model_admin import GatewayModelAdmin, GatewayTabularInline
from lib.admin.render import admin_page
from messages_api.admin.forms import RoutePreviewForm
from messages_api.models import Route, RouteTarget
from messages_api.routing.preview import preview_route


class RouteTargetFormSet(LabeledInlineFormSet):
    default_error_messages = {"too_few_forms": "A route needs at least one target."}


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
    list_display = ["pattern", "target_names"]
    search_fields = ["pattern"]

    @admin.display(description="targets")
    def target_names(self, route: Route) -> str:
        return ", ".join(str(target) for target in route.targets.all()) or "none: requests are rejected"

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("targets__upstream")

    def get_urls(self) -> list[URLPattern]:
        preview = path("preview/", self.admin_site.admin_view(self.preview_view), name="messages_api_route_preview")
        return [preview, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        return super().changelist_view(request, {"preview_form": RoutePreviewForm(), **(extra_context or {})})

    def preview_view(self, request: HttpRequest) -> HttpResponse:
        """Show which targets would serve a model now, and why. Changes nothing."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        form, preview = RoutePreviewForm(request.GET or None), None
        if form.is_valid():
            try:
                preview = preview_route(form.cleaned_data["model"], public_id=form.cleaned_data["key"].strip())
            except LookupError:
                form.add_error("key", "API key not found.")
        context = {"title": "Test routing", "form": form, "preview": preview, "opts": self.opts}
        return admin_page(request, "admin/messages_api/route/preview.html", context)
