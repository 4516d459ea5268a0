"""Bulk actions on the list of API keys: extend expiry and export as CSV."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db import transaction
from django.db.models import QuerySet
from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone

from audit import log
from keys.forms.extend_expiry import ExtendExpiryForm
from keys.models import APIKey
from keys.reports import keys_csv
from lib.admin.csv_download import csv_download
from lib.admin.model_admin import GatewayModelAdmin
from lib.admin.render import admin_page

MAX_SELECTED = 500
"""Each selected key is a field of the confirmation form, and Django accepts at most a thousand fields."""


def limit_selection(action: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate an action so that it rejects more keys than a confirmation form can hold."""

    @wraps(action)
    def checked(admin: Any, request: HttpRequest, queryset: QuerySet[APIKey]) -> HttpResponse | None:
        if queryset.count() > MAX_SELECTED:
            text = f"Select at most {MAX_SELECTED} keys. Narrow the list with a filter, or select fewer."
            messages.error(request, text)
            return None
        return action(admin, request, queryset)

    return checked


class BulkActions(GatewayModelAdmin):
    """Adds the bulk actions that change no state."""

    @admin.action(description="Extend expiry of selected keys", permissions=["change"])
    @limit_selection
    def extend_selected(self, request: HttpRequest, queryset: QuerySet[APIKey]) -> HttpResponse:
        """Ask for the number of days, then extend the keys that have an expiry date."""
        confirmed = "confirmed" in request.POST
        form = ExtendExpiryForm(request.POST if confirmed else None)
        api_keys = list(queryset)
        affected = [api_key for api_key in api_keys if api_key.can_be_extended]
        if not confirmed or not form.is_valid():
            return admin_page(
                request,
                "keys/list/extend_expiry.html",
                {
                    "title": "Extend expiry",
                    "affected": affected,
                    "unaffected": [api_key for api_key in api_keys if not api_key.can_be_extended],
                    "expired": [api_key for api_key in affected if api_key.state == "expired"],
                    "form": form,
                    "checkbox_name": ACTION_CHECKBOX_NAME,
                },
            )
        with transaction.atomic():
            for api_key in affected:
                api_key.extend(by=form.cleaned_data["by"])
                self.log_change(
                    request, api_key, f"Expiry extended to {timezone.localtime(api_key.expires_at):%Y-%m-%d}"
                )
        messages.success(request, f"{len(affected)} API key{'' if len(affected) == 1 else 's'} extended.")
        return HttpResponseRedirect(reverse("admin:keys_apikey_changelist"))

    @admin.action(description="Export selected keys as CSV", permissions=["export"])
    def export_selected(self, request: HttpRequest, queryset: QuerySet[APIKey]) -> FileResponse:
        """Export all selected keys, without a limit: an export needs no confirmation form."""
        log.record_export(APIKey, f"{queryset.count():,} of the list")
        response = csv_download(keys_csv.csv_lines(queryset), filename=f"keys_{timezone.localdate()}.csv")
        response.headers["Cache-Control"] = "private, no-store"
        return response

    def get_actions(self, request: HttpRequest) -> Any:
        actions = super().get_actions(request)
        actions.pop("delete_selected", None)  # it would query each key's usage; keys are revoked instead
        return actions

    def has_export_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("keys.export_apikey")
