"""The keys: who may call. Issued, paused and ended here, and shown in full never again."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from keys import hashing
from keys.admin import cells
from keys.admin.filters import AttentionFilter, StateFilter
from keys.admin.key import OneKey
from keys.forms.fields import find_raw_key
from keys.forms.find import FindForm
from keys.lifecycle import DISABLE, ENABLE, REVOKE, Change
from keys.models import APIKey
from keys.pages import state

STATES = {"usable": "good", "expired": "warn", "disabled": "warn", "revoked": "bad"}


@admin.register(APIKey)
class APIKeyAdmin(OneKey):
    actions = ["disable_selected", "enable_selected", "revoke_selected"]
    list_display = ["name", "state", "secret", "owner", "models", "last_used", "expires"]
    list_filter = [StateFilter, AttentionFilter]
    list_per_page = 50
    list_select_related = ["owner"]
    search_fields = ["name", "public_id", "owner__username", "secrets__hint"]
    search_help_text = "Name, owner, public id (key_…) or hint (mgw_ and six characters)."

    @admin.display(description="state")
    def state(self, api_key: APIKey) -> SafeString:
        return cells.badge(api_key.state, kind=STATES[api_key.state])

    @admin.display(description="key")
    def secret(self, api_key: APIKey) -> SafeString:
        return format_html('<code class="hint">{}</code>', " ".join(str(secret) for secret in api_key.secrets.all()))

    @admin.display(description="models")
    def models(self, api_key: APIKey) -> SafeString | str:
        if not api_key.allowed_models:
            return "all"
        return format_html('<span title="{}">{}</span>', ", ".join(api_key.allowed_models), len(api_key.allowed_models))

    @admin.display(description="last used", ordering="last_used_at")
    def last_used(self, api_key: Any) -> SafeString | str:
        return cells.moment(api_key.last_used_at, none="never")

    @admin.display(description="expires", ordering="expires_at")
    def expires(self, api_key: APIKey) -> SafeString | str:
        return cells.moment(api_key.expires_at, none="never")

    @admin.action(description="Disable selected keys", permissions=["disable"])
    def disable_selected(self, request: HttpRequest, queryset: QuerySet[APIKey]) -> HttpResponse | None:
        return self._change_state(request, queryset, DISABLE)

    @admin.action(description="Enable selected keys", permissions=["disable"])
    def enable_selected(self, request: HttpRequest, queryset: QuerySet[APIKey]) -> HttpResponse | None:
        return self._change_state(request, queryset, ENABLE)

    @admin.action(description="Revoke selected keys", permissions=["revoke"])
    def revoke_selected(self, request: HttpRequest, queryset: QuerySet[APIKey]) -> HttpResponse | None:
        return self._change_state(request, queryset, REVOKE)

    def _change_state(self, request: HttpRequest, queryset: QuerySet[APIKey], change: Change) -> HttpResponse | None:
        return state.change_several(request, self, list(queryset), change)

    # ---- pages

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

    # ---- what is read

    def get_queryset(self, request: HttpRequest) -> Any:
        return APIKey.objects.with_last_use().prefetch_related("secrets")

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        term = search_term.strip()
        if term.startswith(hashing.PREFIX):
            return queryset.filter(secrets__hint=term.removeprefix(hashing.PREFIX).rstrip("….")), True
        return super().get_search_results(request, queryset, term)

    def get_actions(self, request: HttpRequest) -> Any:
        actions = super().get_actions(request)
        actions.pop("delete_selected", None)  # it would ask for each key's usage, and keys are revoked
        return actions
