"""ModelAdmin of API keys, combined from list, detail pages, bulk actions and CSV import."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from keys.admin.api_keys.bulk_actions import BulkActions, limit_selection
from keys.admin.api_keys.change_list import KeyListPage
from keys.admin.api_keys.csv_import import CsvImportPages
from keys.admin.api_keys.detail_pages import KeyDetailPages
from keys.display.state_changes import DISABLE_KEY, ENABLE_KEY, REVOKE_KEY, StateChange
from keys.domain import raw_key
from keys.forms.find_key import FindKeyForm
from keys.models import APIKey
from keys.pages import change_state
from lib.redaction import find_raw_key


@admin.register(APIKey)
class APIKeyAdmin(KeyDetailPages, CsvImportPages, BulkActions, KeyListPage):
    actions = ["disable_selected", "enable_selected", "revoke_selected", "extend_selected", "export_selected"]

    @admin.action(description="Disable selected keys", permissions=["disable"])
    @limit_selection
    def disable_selected(self, request: HttpRequest, queryset: QuerySet[APIKey]) -> HttpResponse | None:
        return self._change_state(request, queryset, DISABLE_KEY)

    @admin.action(description="Enable selected keys", permissions=["disable"])
    @limit_selection
    def enable_selected(self, request: HttpRequest, queryset: QuerySet[APIKey]) -> HttpResponse | None:
        return self._change_state(request, queryset, ENABLE_KEY)

    @admin.action(description="Revoke selected keys", permissions=["revoke"])
    @limit_selection
    def revoke_selected(self, request: HttpRequest, queryset: QuerySet[APIKey]) -> HttpResponse | None:
        return self._change_state(request, queryset, REVOKE_KEY)

    def _change_state(
        self, request: HttpRequest, queryset: QuerySet[APIKey], change: StateChange
    ) -> HttpResponse | None:
        return change_state.change_several(request, self, queryset, change, template="keys/list/confirm_change.html")

    # ---- Pages

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        raw = find_raw_key(request.GET.get("q", ""))
        if raw:
            return self.redirect_to_row(request, raw)
        context = {"title": "API keys", "find_form": FindKeyForm(), **(extra_context or {})}
        return super().changelist_view(request, context)

    def redirect_to_row(self, request: HttpRequest, raw: str) -> HttpResponse:
        """Redirect to the row of a raw key, found by its hint, so that the raw key is in no page and no URL."""
        list_url = reverse("admin:keys_apikey_changelist")
        if raw_key.is_well_formed(raw) and APIKey.objects.with_raw_key(raw).exists():
            return HttpResponseRedirect(f"{list_url}?q={raw_key.PREFIX}{raw_key.hint(raw)}")
        messages.warning(request, "No key matches your input.")
        return HttpResponseRedirect(list_url)
