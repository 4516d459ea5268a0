"""Detail page of an API key: status, budgets, usage, errors, secrets, history and the edit form."""

from datetime import datetime
from typing import Any

from django.contrib import messages
from django.contrib.admin.helpers import AdminForm
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import NoReverseMatch, reverse
from django.utils import timezone

from audit.log import history_of
from keys.display.secret_status import secret_statuses
from keys.display.snippets import PLACEHOLDER, SOME_MODEL, snippets
from keys.display.state_changes import propagation_s
from keys.display.summary import summary
from keys.forms.budgets import BudgetFormSet, KeyBudgets, budget_form_data
from keys.forms.edit import EditForm
from keys.models import APIKey, KeyState, Team
from keys.pages.issue import SECTIONS as ISSUE_SECTIONS
from keys.pages.permissions import CHANGE_BUDGET, permitted_actions
from keys.pages.raw_key import example_model
from keys.reports import charts, forecast, key_activity
from keys.reports.rejections import rejections
from lib.admin.form_guard import show_conflict
from lib.admin.render import admin_page

SECTIONS: Any = [
    (name, {"fields": ["expires_at", "no_expiry_reason"]} if name == "Expiry" else options)
    for name, options in ISSUE_SECTIONS
]


class KeyEditor:
    """The edit form of a key and, with the permission to change budgets, the formset of its budgets."""

    def __init__(self, request: HttpRequest, model_admin: Any, api_key: APIKey) -> None:
        data = request.POST or None
        self._request, self._model_admin, self._api_key = request, model_admin, api_key
        self.form = EditForm(data, instance=api_key, suggested_models=model_admin.admin_site.model_names())
        team = self.form.chosen_owner if isinstance(self.form.chosen_owner, Team) else None
        self.budgets: BudgetFormSet | None = None
        if request.user.has_perm(CHANGE_BUDGET):
            may_add = request.user.has_perm("keys.add_budget")
            self.budgets = KeyBudgets(budget_form_data(data), instance=api_key, team=team, may_add=may_add)
            self.budgets.can_delete = request.user.has_perm("keys.delete_budget")

    @property
    def is_valid(self) -> bool:
        return bool(self.form.is_valid() & (self.budgets is None or self.budgets.is_valid()))

    @property
    def context(self) -> dict[str, Any]:
        sections = AdminForm(self.form, SECTIONS, {}, model_admin=self._model_admin)
        return {"form": self.form, "sections": list(sections), "budgets": self.budgets}

    @transaction.atomic
    def save(self) -> None:
        self.form.save()
        if self.budgets is not None:
            self.budgets.save()
        formsets = [self.budgets] if self.budgets is not None else []
        message = self._model_admin.construct_change_message(self._request, self.form, formsets)
        self._model_admin.log_change(self._request, self._api_key, message)


@show_conflict
def key(request: HttpRequest, model_admin: Any, api_key: APIKey) -> HttpResponse:
    may_change = model_admin.has_change_permission(request, api_key)
    if request.method == "POST" and not may_change:
        raise PermissionDenied
    editor = KeyEditor(request, model_admin, api_key) if may_change else None
    if request.method == "POST" and editor and "add_budget" not in request.POST and editor.is_valid:
        editor.save()
        messages.success(request, f"Saved. Takes effect everywhere within {propagation_s()} seconds.")
        return HttpResponseRedirect(request.path)
    if request.method == "POST":
        # The invalid form has changed the instance in memory; the panels show the key as it is stored.
        api_key = model_admin.get_queryset(request).get(pk=api_key.pk)
    context = {
        "title": api_key.name,
        "original": api_key,
        "propagation_s": propagation_s(),
        **(editor.context if editor else {}),
    }
    return admin_page(request, "keys/key/detail.html", context | _panels(request, model_admin, api_key))


def _panels(request: HttpRequest, model_admin: Any, api_key: APIKey) -> dict[str, Any]:
    """Return the context of all panels but the form. The number of queries is constant."""
    activity = key_activity.activity(api_key)
    budgets = forecast.budget_meters(api_key, activity)
    own_budgets = [each.status.budget.spec for each in budgets if each.status.scope == "key"]
    context: dict[str, Any] = {
        "api_key": api_key,
        "budget_meters": budgets,
        "limit_meters": forecast.limit_meters(api_key),
        "secrets": secret_statuses(list(api_key.secrets.all())),
        "summary": summary(api_key, own_budgets),
        "history": history_of(api_key),
        "may": permitted_actions(request.user, api_key),
        "blocked_reasons": blocked_reasons(api_key),
        "owner_url": _owner_url(request, api_key),
        "records_url": f"{reverse('admin:keys_usagerecord_changelist')}?api_key__public_id={api_key.public_id}",
        "placeholder": PLACEHOLDER,
        "snippets": snippets(
            PLACEHOLDER,
            origin=f"{request.scheme}://{request.get_host()}",
            model=example_model(api_key, model_admin.admin_site.model_names()) or SOME_MODEL,
        ),
    }
    if request.user.has_perm("keys.view_usagerecord"):
        records = key_activity.recent_requests(api_key)
        context |= {
            "activity": activity,
            "chart": charts.requests_per_day(activity.days),
            "records": records,
            "last_use": key_activity.last_admitted(api_key, records),
            "errors": key_activity.recent_errors(api_key),
            "rejections": rejections(api_key),
        }
    return context


def blocked_reasons(api_key: APIKey) -> list[str]:
    """Return why every request with this key is rejected; empty if the key is active."""
    return [_blocked_reason(state, api_key) for state in api_key.blocking_states()]


def _blocked_reason(state: KeyState, api_key: APIKey) -> str:
    match state:
        case KeyState.REVOKED:
            why = "; ".join(filter(None, [api_key.get_revocation_reason_display(), api_key.revocation_note]))
            return f"Revoked on {_local(api_key.revoked_at)}: {why or 'no reason given'}"
        case KeyState.DISABLED:
            return f"Disabled since {_local(api_key.disabled_at)}: requests are rejected until the key is enabled."
        case KeyState.TEAM_DISABLED:
            return f"Team {api_key.owner_name} is disabled: requests with its keys are rejected."
        case KeyState.OWNER_INACTIVE:
            return f"The owner {api_key.owner_name} is inactive: requests are rejected."
        case _:
            return f"Expired on {_local(api_key.expires_at)}: requests are rejected."


def _local(moment: datetime | None) -> str:
    return f"{timezone.localtime(moment):%Y-%m-%d %H:%M}" if moment else ""


def _owner_url(request: HttpRequest, api_key: APIKey) -> str:
    """Return the URL of the owner's page; empty without the permission to view it."""
    owner: Any = api_key.team or api_key.owner
    options = owner._meta
    if not request.user.has_perm(f"{options.app_label}.view_{options.model_name}"):
        return ""
    try:
        return reverse(f"admin:{options.app_label}_{options.model_name}_change", args=[owner.pk])
    except NoReverseMatch:
        return ""
