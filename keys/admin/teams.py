"""ModelAdmin of teams: access policy, budgets with their status, and the keys of a team."""

from collections import defaultdict
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.contrib.admin.widgets import AdminTextInputWidget
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from keys.admin.cells import budget_bar, condition_badges
from keys.budgets import status
from keys.display.state_changes import DISABLE_TEAM, ENABLE_TEAM, StateChange
from keys.forms.access_policy import LIMIT_FIELD_LABELS
from keys.forms.budgets import TeamBudgetForm
from keys.forms.fields import ModelNamesField
from keys.forms.partial_save import PartialSaveForm
from keys.hygiene import conditions
from keys.models import APIKey, Budget, Team
from keys.pages import change_state
from lib.admin import cells
from lib.admin.model_admin import GatewayModelAdmin, GatewayTabularInline

SHOWN = 20
STATES = {"active": "good", "disabled": "warn"}


class TeamForm(PartialSaveForm):
    allowed_models = ModelNamesField(
        help_text="One per line; a name may end in *. Empty: every model. Keys can restrict the list further."
    )

    class Meta:
        model = Team
        fields = ["name", "email", "purpose", "allowed_models", "requests_per_minute", "tokens_per_minute"]
        fields += ["concurrent_requests", "shadow_mode"]
        labels = LIMIT_FIELD_LABELS
        widgets = {"name": AdminTextInputWidget}
        help_texts = {
            "requests_per_minute": "All keys of the team combined. Empty: no limit.",
            "tokens_per_minute": "Input and output, all keys combined. Empty: no limit.",
            "concurrent_requests": "All keys combined. Empty: no limit.",
        }


class BudgetInline(GatewayTabularInline):
    form = TeamBudgetForm
    model = Budget


class TeamChangeList(ChangeList):
    """Adds the budget statuses to the teams of a page. The number of queries is constant."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = list(self.result_list)
        statuses = defaultdict(list)
        for each in status.for_budgets(Budget.objects.filter(team__in=self.result_list)):
            statuses[each.budget.team_id].append(each)
        for team in self.result_list:
            team.budget_statuses = statuses[team.pk]


@admin.register(Team)
class TeamAdmin(GatewayModelAdmin):
    actions = ["disable_selected", "enable_selected"]
    fieldsets = [
        (None, {"fields": ["name", "email", "purpose"]}),
        (
            "Access policy",
            {
                "fields": [
                    "allowed_models",
                    ("requests_per_minute", "tokens_per_minute", "concurrent_requests"),
                    "shadow_mode",
                ],
                "description": "Applies to all keys of the team combined, in addition to the policy of each key.",
            },
        ),
    ]
    form = TeamForm
    inlines = [BudgetInline]
    list_display = ["name", "state", "keys", "budgets", "models", "created"]
    search_fields = ["name", "email"]

    @admin.display(description="state", ordering="disabled_at")
    def state(self, team: Team) -> SafeString:
        return cells.badge(team.state, kind=STATES[team.state])

    @admin.display(description="keys", ordering="keys_count")
    def keys(self, team: Any) -> SafeString:
        address = reverse("admin:keys_apikey_changelist", query={"team": team.name})
        return format_html('<a href="{}">{}</a>', address, team.keys_count)

    @admin.display(description="budgets")
    def budgets(self, team: Any) -> SafeString | str:
        bars = ((budget_bar(each, with_scope=False),) for each in team.budget_statuses)
        return format_html_join("", "{}", bars) or cells.NONE

    @admin.display(description="models")
    def models(self, team: Team) -> str:
        return str(len(team.allowed_models) or "all")

    @admin.display(description="created", ordering="created_at")
    def created(self, team: Team) -> SafeString | str:
        return cells.moment(team.created_at)

    @admin.action(description="Disable selected teams", permissions=["disable"])
    def disable_selected(self, request: HttpRequest, queryset: QuerySet[Team]) -> HttpResponse:
        return self._change_state(request, queryset, DISABLE_TEAM)

    @admin.action(description="Enable selected teams", permissions=["disable"])
    def enable_selected(self, request: HttpRequest, queryset: QuerySet[Team]) -> HttpResponse:
        return self._change_state(request, queryset, ENABLE_TEAM)

    def _change_state(self, request: HttpRequest, queryset: QuerySet[Team], change: StateChange) -> HttpResponse:
        return change_state.change_several(request, self, queryset, change, template="keys/teams/confirm_change.html")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        may = {"may_disable": self.has_disable_permission(request)}
        return super().change_view(request, object_id, form_url, {**may, **(extra_context or {})})

    def save_model(self, request: HttpRequest, obj: Team, form: Any, change: bool) -> None:
        obj.save(update_fields=form.update_fields)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        if team := context["original"]:
            context |= self._facts(request, team)
        return super().render_change_form(request, context, *args, **kwargs)

    def _facts(self, request: HttpRequest, team: Team) -> dict[str, Any]:
        facts: dict[str, Any] = {"state": self.state(team)}
        statuses = status.for_budgets(team.budgets.all())
        facts["budget_statuses"] = [(each, budget_bar(each, with_scope=False)) for each in statuses]
        if request.user.has_perm("keys.view_apikey"):
            keys = list(APIKey.objects.filter(team=team).with_last_use()[:SHOWN])
            conditions_by_key = conditions.conditions_of([api_key.pk for api_key in keys])
            facts["team_keys"] = [
                (key, condition_badges(conditions_by_key[key.pk]), cells.moment(key.last_used_at, none="never"))
                for key in keys
            ]
            facts["keys_count"] = team.api_keys.count()
        return facts

    # ---- Queries and permissions

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return TeamChangeList

    def get_queryset(self, request: HttpRequest) -> Any:
        of_use = Count("api_keys", filter=Q(api_keys__revoked_at=None))
        return super().get_queryset(request).annotate(keys_count=of_use)

    def has_disable_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("keys.disable_team")

    def has_delete_permission(self, request: HttpRequest, obj: Team | None = None) -> bool:
        """A team that owns keys is not deleted: each key needs an owner."""
        may_delete = super().has_delete_permission(request, obj)
        return may_delete and (obj is None or not obj.api_keys.exists())

    def get_actions(self, request: HttpRequest) -> Any:
        actions = super().get_actions(request)
        actions.pop("delete_selected", None)  # teams are deleted one by one: the page says why one cannot be
        return actions
