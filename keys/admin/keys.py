"""The keys: who may call. Issued, paused and ended here, and shown in full never again."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString

from keys import hashing, views
from keys.admin import cells
from keys.admin.key_actions import KeyActions, of_a_few
from keys.admin.key_import import KeyImport
from keys.admin.key_list import KeyList
from keys.forms import APIKeyForm, FindForm, find_raw_key
from keys.lifecycle import DISABLE, ENABLE, REVOKE, Change
from keys.models import APIKey

STATES = {"usable": "good", "expired": "warn", "disabled": "warn", "revoked": "bad"}


@admin.register(APIKey)
class APIKeyAdmin(KeyImport, KeyActions, KeyList):
    actions = ["disable_selected", "enable_selected", "revoke_selected", "extend_selected", "export_selected"]
    form = APIKeyForm
    fieldsets = [("Rules", {"fields": ["name", "owner", "expires_at", "allowed_models"]})]

    @admin.display(description="state")
    def state(self, api_key: APIKey) -> SafeString:
        return cells.badge(api_key.state, kind=STATES[api_key.state])

    @admin.action(description="Disable selected keys", permissions=["disable"])
    @of_a_few
    def disable_selected(self, request: HttpRequest, queryset: QuerySet[APIKey]) -> HttpResponse | None:
        return self._change_state(request, queryset, DISABLE)

    @admin.action(description="Enable selected keys", permissions=["disable"])
    @of_a_few
    def enable_selected(self, request: HttpRequest, queryset: QuerySet[APIKey]) -> HttpResponse | None:
        return self._change_state(request, queryset, ENABLE)

    @admin.action(description="Revoke selected keys", permissions=["revoke"])
    @of_a_few
    def revoke_selected(self, request: HttpRequest, queryset: QuerySet[APIKey]) -> HttpResponse | None:
        return self._change_state(request, queryset, REVOKE)

    def _change_state(self, request: HttpRequest, queryset: QuerySet[APIKey], change: Change) -> HttpResponse | None:
        return views.change_state(request, self, list(queryset), change)

    # ---- pages

    def get_urls(self) -> list[URLPattern]:
        find = path("find/", self.admin_site.admin_view(self.find_view), name="keys_apikey_find")
        return [find, *super().get_urls()]

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        return views.issue(request, self)

    def find_view(self, request: HttpRequest) -> HttpResponse:
        return views.find(request, self)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        raw = find_raw_key(request.GET.get("q", ""))
        if raw:
            return self.answer_raw_key(request, raw)
        return super().changelist_view(request, {"title": "API keys", "find_form": FindForm(), **(extra_context or {})})

    def answer_raw_key(self, request: HttpRequest, raw: str) -> HttpResponse:
        """Lead to the row of a raw key by its hint: the raw key is in no page, and leaves the address bar."""
        address = reverse("admin:keys_apikey_changelist")
        if hashing.is_well_formed(raw) and APIKey.objects.with_raw_key(raw).exists():
            return HttpResponseRedirect(f"{address}?q={hashing.PREFIX}{hashing.hint(raw)}")
        messages.warning(request, "No key here belongs to what you entered.")
        return HttpResponseRedirect(address)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        may = {
            "may_disable": self.has_disable_permission(request),
            "may_revoke": self.has_revoke_permission(request),
            "may_read_usage": request.user.has_perm("keys.view_usagerecord"),
        }
        return super().change_view(request, object_id, form_url, {"title": "API key", **may, **(extra_context or {})})

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        api_key = context["original"]
        facts = {"state": self.state(api_key), "last_used": self.last_used(api_key)}
        context |= {"show_save_and_add_another": False, **facts}
        return super().render_change_form(request, context, *args, **kwargs)

    # ---- who may

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("keys.issue_apikey")

    def has_disable_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("keys.disable_apikey")

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("keys.revoke_apikey")

    def has_delete_permission(self, request: HttpRequest, obj: APIKey | None = None) -> bool:
        """A key with usage is revoked, never deleted: its history needs it."""
        may_delete = super().has_delete_permission(request, obj)
        return may_delete and (obj is None or not obj.usage.exists())

    def get_actions(self, request: HttpRequest) -> Any:
        actions = super().get_actions(request)
        actions.pop("delete_selected", None)  # it would ask for each key's usage, and keys are revoked
        return actions
