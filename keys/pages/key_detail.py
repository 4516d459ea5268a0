"""The page of one key: how it is, what it did, what it may do, and the form that changes that."""

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
from keys.forms.budgets import BudgetFormSet, KeyBudgets, rows_of
from keys.forms.edit import EditForm
from keys.models import APIKey, KeyState, Team
from keys.pages.issue import SECTIONS as ISSUE_SECTIONS
from keys.pages.raw_key import example_model
from keys.reports import charts, forecast, key_activity
from keys.reports.rejections import rejections
from lib.admin.render import admin_page

SECTIONS: Any = [
    (name, {"fields": ["expires_at", "no_expiry_reason"]} if name == "Expiry" else options)
    for name, options in ISSUE_SECTIONS
]


class KeyEditor:
    """The form of a key's rules and, for those who may, of its budgets."""

    def __init__(self, request: HttpRequest, model_admin: Any, api_key: APIKey) -> None:
        data = request.POST or None
        self._request, self._model_admin, self._api_key = request, model_admin, api_key
        self.form = EditForm(data, instance=api_key, offers=model_admin.admin_site.model_names())
        team = self.form.chosen_owner if isinstance(self.form.chosen_owner, Team) else None
        self.budgets: BudgetFormSet | None = None
        if request.user.has_perm("keys.change_budget"):
            may_add = request.user.has_perm("keys.add_budget")
            self.budgets = KeyBudgets(rows_of(data), instance=api_key, team=team, may_add=may_add)
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
        parts = [self.budgets] if self.budgets is not None else []
        said = self._model_admin.construct_change_message(self._request, self.form, parts)
        self._model_admin.log_change(self._request, self._api_key, said)


def key(request: HttpRequest, model_admin: Any, api_key: APIKey) -> HttpResponse:
    may_change = model_admin.has_change_permission(request, api_key)
    if request.method == "POST" and not may_change:
        raise PermissionDenied
    editor = KeyEditor(request, model_admin, api_key) if may_change else None
    if request.method == "POST" and editor and "add_budget" not in request.POST and editor.is_valid:
        editor.save()
        messages.success(request, f"Saved. It takes effect everywhere within {propagation_s()} seconds.")
        return HttpResponseRedirect(request.path)
    if request.method == "POST":
        # The form has changed the row in memory; what stands above it is how the key is.
        api_key = model_admin.get_queryset(request).get(pk=api_key.pk)
    context = {
        "title": api_key.name,
        "original": api_key,
        "propagation_s": propagation_s(),
        **(editor.context if editor else {}),
    }
    return admin_page(request, "keys/key/detail.html", context | _panels(request, model_admin, api_key))


def _panels(request: HttpRequest, model_admin: Any, api_key: APIKey) -> dict[str, Any]:
    """What the page shows besides the form. The number of queries does not grow with anything."""
    done = key_activity.activity(api_key)
    budgets = forecast.budget_meters(api_key, done)
    shown: dict[str, Any] = {
        "api_key": api_key,
        "budget_meters": budgets,
        "limit_meters": forecast.limit_meters(api_key),
        "secrets": secret_statuses(list(api_key.secrets.all())),
        "rules": summary(api_key, [each.status.budget.spec for each in budgets if each.status.scope == "key"]),
        "history": history_of(api_key),
        "may": model_admin.rights(request, api_key),
        "blocked_reasons": blocked_reasons(api_key),
        "holder_address": _holder_address(request, api_key),
        "requests_address": f"{reverse('admin:keys_usagerecord_changelist')}?api_key__public_id={api_key.public_id}",
        "placeholder": PLACEHOLDER,
        "snippets": snippets(
            PLACEHOLDER,
            origin=f"{request.scheme}://{request.get_host()}",
            model=example_model(api_key, model_admin.admin_site.model_names()) or SOME_MODEL,
        ),
    }
    if request.user.has_perm("keys.view_usagerecord"):
        requests = key_activity.recent_requests(api_key)
        shown |= {
            "activity": done,
            "chart": charts.requests_per_day(done.days),
            "requests": requests,
            "last_use": key_activity.last_admitted(api_key, requests),
            "errors": key_activity.recent_errors(api_key),
            "rejections": rejections(api_key),
        }
    return shown


def blocked_reasons(api_key: APIKey) -> list[str]:
    """Return why every request with this key is rejected. Empty for a usable key."""
    return [_reason(state, api_key) for state in api_key.blocking_states()]


def _reason(state: KeyState, api_key: APIKey) -> str:
    match state:
        case KeyState.REVOKED:
            why = "; ".join(filter(None, [api_key.get_revocation_reason_display(), api_key.revocation_note]))
            return f"Revoked on {_moment(api_key.revoked_at)}: {why or 'no reason was given'}"
        case KeyState.DISABLED:
            return f"Disabled since {_moment(api_key.disabled_at)}: its requests are rejected until it is enabled."
        case KeyState.TEAM_DISABLED:
            return f"The team {api_key.owner_name} is disabled, and all its keys with it."
        case KeyState.OWNER_INACTIVE:
            return f"The owner {api_key.owner_name} is deactivated."
        case _:
            return f"Expired on {_moment(api_key.expires_at)}: its requests are rejected."


def _moment(moment: datetime | None) -> str:
    return f"{timezone.localtime(moment):%Y-%m-%d %H:%M}" if moment else ""


def _holder_address(request: HttpRequest, api_key: APIKey) -> str:
    """The page of the team or the person, for those who may see it."""
    owner_choice: Any = api_key.team or api_key.owner
    options = owner_choice._meta
    if not request.user.has_perm(f"{options.app_label}.view_{options.model_name}"):
        return ""
    try:
        return reverse(f"admin:{options.app_label}_{options.model_name}_change", args=[owner_choice.pk])
    except NoReverseMatch:
        return ""
