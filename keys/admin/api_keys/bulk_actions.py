"""What is done to many keys at once from their list: their expiry is extended, and they are exported."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.urls import reverse
from django.utils import timezone

from audit import log
from keys.forms.extend_expiry import ExtendExpiryForm
from keys.models import APIKey
from keys.reports import keys_csv
from lib.admin.model_admin import GatewayModelAdmin
from lib.admin.render import admin_page

MAX_SELECTED = 500
"""Each key of an action is a field of its confirmation, and a form has a thousand at most."""


def limit_selection(action: Callable[..., Any]) -> Callable[..., Any]:
    """An action that is not done to more keys than a page of confirmation can name."""

    @wraps(action)
    def checked(admin: Any, request: HttpRequest, queryset: QuerySet[APIKey]) -> HttpResponse | None:
        if queryset.count() > MAX_SELECTED:
            text = f"{MAX_SELECTED} keys at most are changed at once. Narrow the list with a filter, or select fewer."
            messages.error(request, text)
            return None
        return action(admin, request, queryset)

    return checked


class BulkActions(GatewayModelAdmin):
    @admin.action(description="Extend expiry of selected keys", permissions=["change"])
    @limit_selection
    def extend_selected(self, request: HttpRequest, queryset: QuerySet[APIKey]) -> HttpResponse:
        """Ask by how many days, then move the end of those keys that have one."""
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
        messages.success(request, f"Extended {len(affected)} API key{'' if len(affected) == 1 else 's'}.")
        return HttpResponseRedirect(reverse("admin:keys_apikey_changelist"))

    @admin.action(description="Export selected keys as CSV", permissions=["export"])
    def export_selected(self, request: HttpRequest, queryset: QuerySet[APIKey]) -> StreamingHttpResponse:
        """All of them, however many: nothing is confirmed."""
        log.note_export(APIKey, f"{queryset.count():,} of the list")
        name = f"keys_{timezone.localdate()}.csv"
        return StreamingHttpResponse(
            keys_csv.csv_lines(queryset),
            content_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "private, no-store"},
        )

    def has_export_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("keys.export_apikey")
