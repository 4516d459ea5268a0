"""The list of keys: who may call, how it stands with each key, and what it did lately."""

from datetime import UTC, datetime
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import ShowFacets
from django.contrib.admin.views.main import ChangeList
from django.db.models import Q, Value
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import smart_split, unescape_string_literal

from keys.admin.api_keys import row_actions
from keys.admin.cells import chips, standing
from keys.admin.filters import (
    AllowedModelFilter,
    CreatorFilter,
    FindingFilter,
    OwnerFilter,
    StateFilter,
    TeamFilter,
)
from keys.domain import raw_key
from keys.hygiene import conditions
from keys.models import APIKey, KeySecret
from keys.reports import key_list_stats
from keys.reports.totals import Totals
from lib import money
from lib.admin import cells
from lib.admin.model_admin import GatewayModelAdmin

FEW = 1_000  # that a query can name
# Where keys stand that were never used, and those that never expire: databases do not agree on it.
EVER, NEVER = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


class KeyChangeList(ChangeList):
    """Adds to the keys of a page what is known of them, in as many queries for fifty as for one."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = list(self.result_list)
        told = conditions.conditions_of(api_key.pk for api_key in self.result_list)
        stats = key_list_stats.stats_for(self.result_list)
        allowed = row_actions.allowed(request)
        for api_key in self.result_list:
            api_key.allowed = allowed
            api_key.conditions = told.get(api_key.pk, [])
            api_key.stats = stats[api_key.pk]


class KeyListPage(GatewayModelAdmin):
    """What the list of keys shows, and how it is searched and filtered."""

    list_display = ["key", "status", "owner_name", "models", "spending", "requests", "last_used", "expires", "created"]
    list_filter = [StateFilter, FindingFilter, OwnerFilter, TeamFilter, AllowedModelFilter, CreatorFilter]
    list_select_related = ["owner", "team"]
    search_fields = ["name", "owner__username", "team__name", "public_id"]
    search_help_text = f"Name, owner, team, public ID (key_…) or hint ({raw_key.PREFIX} and six characters)."
    show_facets = ShowFacets.NEVER  # the filters count by themselves

    @admin.display(description="key", ordering="name")
    def key(self, api_key: APIKey) -> SafeString:
        return format_html(
            '<span class="key-name">{}</span> <code class="hint">{}</code>', api_key.name, self.hints(api_key)
        )

    def hints(self, api_key: APIKey) -> str:
        return " ".join(str(secret) for secret in api_key.secrets.all())

    @admin.display(description="status")
    def status(self, api_key: Any) -> SafeString:
        return chips(api_key.conditions)

    @admin.display(description="belongs to", ordering="owner__username")
    def owner_name(self, api_key: APIKey) -> SafeString | str:
        if api_key.team is not None:
            return format_html('{} <span class="quiet">team</span>', api_key.team.name)
        return api_key.owner_name

    @admin.display(description="models")
    def models(self, api_key: APIKey) -> SafeString | str:
        if not api_key.allowed_models:
            return "all"
        return format_html('<span title="{}">{}</span>', ", ".join(api_key.allowed_models), len(api_key.allowed_models))

    @admin.display(description="this month")
    def spending(self, api_key: Any) -> SafeString:
        """What the calls of this month cost, and how the budget stands that tells most."""
        stats = api_key.stats
        budget = standing(stats.budget) if stats.budget else ""
        return format_html('<span class="spending">{}{}</span>', _spent(stats.month), budget)

    @admin.display(description="7 days")
    def requests(self, api_key: Any) -> SafeString:
        days = [day.finished for day in api_key.stats.days]
        rejected = api_key.stats.week.rejected
        title = f"Calls by day, the last is today: {', '.join(f'{count:,}' for count in days)}"
        if rejected:
            title += f". Refused besides: {rejected:,}"
        total = f"{sum(days):,}"
        return format_html('<span class="calls" title="{}">{} {}</span>', title, cells.sparkline(days), total)

    @admin.display(description="last used", ordering=Coalesce(APIKey.objects.last_use(), Value(EVER)))
    def last_used(self, api_key: Any) -> SafeString | str:
        return cells.moment(api_key.last_used_at, none="never")

    @admin.display(description="expires", ordering=Coalesce("expires_at", Value(NEVER)))
    def expires(self, api_key: APIKey) -> SafeString | str:
        return cells.moment(api_key.expires_at, none="never")

    @admin.display(description="created", ordering="created_at")
    def created(self, api_key: APIKey) -> SafeString | str:
        return cells.moment(api_key.created_at)

    @admin.display(description=format_html('<span class="visually-hidden">{}</span>', "Actions"))
    def row_actions(self, api_key: Any) -> SafeString:
        return row_actions.links(api_key, api_key.allowed)

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        """With a last column of what may be done to a key, for who may do anything."""
        columns = super().get_list_display(request)
        return [*columns, "row_actions"] if row_actions.allowed(request) else list(columns)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return KeyChangeList

    def get_queryset(self, request: HttpRequest) -> Any:
        return APIKey.objects.with_last_use().prefetch_related("secrets")

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """Keys in which every word is found: in one of the fields, or in the hint of one of the secrets.

        The list, and each of its filters, wants to know the same of one request: it is looked up once.
        """
        if not search_term.strip():
            return queryset, False
        if getattr(request, "searched", None) is None:
            request.searched = _searched(search_term)  # type: ignore[attr-defined]
        return queryset.filter(request.searched), False  # type: ignore[attr-defined]


def _searched(term: str) -> Q:
    """What is true of the keys that a search finds: which they are, if they are few."""
    condition = Q()
    for word in smart_split(term):
        text = unescape_string_literal(word) if word.startswith(("'", '"')) and word[:1] == word[-1:] else word
        condition &= _found(text.replace("\0", ""))
    ids = list(APIKey.objects.order_by().filter(condition).values_list("pk", flat=True)[: FEW + 1])
    return condition if len(ids) > FEW else Q(pk__in=ids)


def _found(text: str) -> Q:
    hint = text.removeprefix(raw_key.PREFIX).rstrip("….")
    if text.startswith(raw_key.PREFIX):
        return Q(pk__in=KeySecret.objects.filter(hint=hint).values("api_key_id"))
    found = Q(pk__in=KeySecret.objects.filter(hint__icontains=hint).values("api_key_id")) if hint else Q()
    for name in KeyListPage.search_fields:
        found |= Q(**{f"{name}__icontains": text})
    return found


def _spent(totals: Totals) -> SafeString:
    unpriced = f"{totals.unpriced:,} unpriced"
    if totals.is_unpriced:
        return format_html("<span>{}</span>", unpriced)
    exact = money.dollars(totals.cost_micros)
    note = format_html(' <span class="quiet">+ {}</span>', unpriced) if totals.unpriced else ""
    return format_html('<span title="{}">{}{}</span>', exact, money.short(totals.cost_micros), note)


def list_of(**filters: str) -> str:
    """The address of the list with a filter."""
    return reverse("admin:keys_apikey_changelist", query=filters)
