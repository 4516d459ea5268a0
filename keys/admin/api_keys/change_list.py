"""List of API keys: columns, filters, ordering and search."""

from datetime import UTC, datetime
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import ShowFacets
from django.contrib.admin.views.main import ChangeList
from django.db.models import Q, Value
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import smart_split, unescape_string_literal

from keys.admin.api_keys import row_actions
from keys.admin.api_keys.filters import (
    AllowedModelFilter,
    CreatorFilter,
    FindingFilter,
    KeyStateFilter,
    OwnerFilter,
    TeamFilter,
)
from keys.admin.cells import budget_bar, condition_badges
from keys.domain import raw_key
from keys.hygiene import conditions
from keys.models import APIKey, KeySecret
from keys.reports import key_list_stats
from keys.reports.totals import Totals
from lib import money
from lib.admin import cells
from lib.admin.model_admin import GatewayModelAdmin

MAX_IDS = 1_000
"""Maximum number of ids that one query names."""
# Sort values for keys that were never used and that never expire: databases order NULL differently.
NEVER_USED, NEVER_EXPIRES = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


class KeyChangeList(ChangeList):
    """Adds conditions and statistics to the keys of a page. The number of queries is constant."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = list(self.result_list)
        conditions_by_key = conditions.conditions_of([api_key.pk for api_key in self.result_list])
        stats = key_list_stats.stats_for(self.result_list)
        permitted = row_actions.permitted(request)
        for api_key in self.result_list:
            api_key.permitted_actions = permitted
            api_key.conditions = conditions_by_key.get(api_key.pk, [])
            api_key.stats = stats[api_key.pk]


class KeyListPage(GatewayModelAdmin):
    """Columns, filters and search of the list of API keys."""

    list_display = ["key", "status", "owner_name", "models", "spending", "requests", "last_used", "expires", "created"]
    list_filter = [KeyStateFilter, FindingFilter, OwnerFilter, TeamFilter, AllowedModelFilter, CreatorFilter]
    list_select_related = ["owner", "team"]
    search_fields = ["name", "owner__username", "team__name", "public_id"]
    search_help_text = f"Name, owner, team, ID (key_…) or hint ({raw_key.PREFIX} and six characters)."
    show_facets = ShowFacets.NEVER  # the filters count on their own

    @admin.display(description="key", ordering="name")
    def key(self, api_key: APIKey) -> SafeString:
        return format_html(
            '<span class="key-name">{}</span> <code class="hint">{}</code>', api_key.name, self.hints(api_key)
        )

    def hints(self, api_key: APIKey) -> str:
        return " ".join(str(secret) for secret in api_key.secrets.all())

    @admin.display(description="status")
    def status(self, api_key: Any) -> SafeString:
        return condition_badges(api_key.conditions)

    @admin.display(description="owner", ordering="owner__username")
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
        """Cost of the current month and the status of the most relevant budget."""
        stats = api_key.stats
        budget = budget_bar(stats.budget) if stats.budget else ""
        return format_html('<span class="spending">{}{}</span>', _spent(stats.month), budget)

    @admin.display(description="7 days")
    def requests(self, api_key: Any) -> SafeString:
        days = [day.finished for day in api_key.stats.days]
        rejected = api_key.stats.week.rejected
        title = f"Requests per day, today last: {', '.join(f'{count:,}' for count in days)}"
        if rejected:
            title += f"; rejected: {rejected:,}"
        total = f"{sum(days):,}"
        return format_html('<span class="requests" title="{}">{} {}</span>', title, cells.sparkline(days), total)

    @admin.display(description="last used", ordering=Coalesce(APIKey.objects.last_use(), Value(NEVER_USED)))
    def last_used(self, api_key: Any) -> SafeString | str:
        return cells.moment(api_key.last_used_at, none="never")

    @admin.display(description="expires", ordering=Coalesce("expires_at", Value(NEVER_EXPIRES)))
    def expires(self, api_key: APIKey) -> SafeString | str:
        return cells.moment(api_key.expires_at, none="never")

    @admin.display(description="created", ordering="created_at")
    def created(self, api_key: APIKey) -> SafeString | str:
        return cells.moment(api_key.created_at)

    @admin.display(description=format_html('<span class="visually-hidden">{}</span>', "Actions"))
    def row_actions(self, api_key: Any) -> SafeString:
        return row_actions.links(api_key, api_key.permitted_actions)

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        """Add the column of row actions for users who may do any of them."""
        columns = super().get_list_display(request)
        return [*columns, "row_actions"] if row_actions.permitted(request) else list(columns)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return KeyChangeList

    def get_queryset(self, request: HttpRequest) -> Any:
        return APIKey.objects.with_last_use().prefetch_related("secrets")

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """Return the keys that match every word, in a search field or in the hint of a secret.

        The list and each of its filters search in the same request, so the condition is computed once.
        """
        if not search_term.strip():
            return queryset, False
        if getattr(request, "search_condition", None) is None:
            request.search_condition = _search_condition(search_term)  # type: ignore[attr-defined]
        return queryset.filter(request.search_condition), False  # type: ignore[attr-defined]


def _search_condition(term: str) -> Q:
    """Return a condition on the found keys: on their ids, if there are at most `MAX_IDS`."""
    condition = Q()
    for word in smart_split(term):
        text = unescape_string_literal(word) if word.startswith(("'", '"')) and word[:1] == word[-1:] else word
        condition &= _word_condition(text.replace("\0", ""))
    ids = list(APIKey.objects.order_by().filter(condition).values_list("pk", flat=True)[: MAX_IDS + 1])
    return condition if len(ids) > MAX_IDS else Q(pk__in=ids)


def _word_condition(text: str) -> Q:
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
    exact = money.exact(totals.cost_picos)
    note = format_html(' <span class="quiet">+ {}</span>', unpriced) if totals.unpriced else ""
    return format_html('<span title="{}">{}{}</span>', exact, money.short(totals.cost_picos), note)
