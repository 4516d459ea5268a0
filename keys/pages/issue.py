"""Issue page: the form of a new key, its preview, and the raw key in the response to the POST."""

from collections.abc import Iterator
from typing import Any

from django.contrib.admin.helpers import AdminForm
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import render

from keys.display.summary import summary
from keys.forms.budgets import BudgetFormSet, KeyBudgets, budget_form_data
from keys.forms.issue import IssueForm
from keys.models import APIKey, KeySecret, Team
from keys.pages import permissions
from keys.pages.raw_key import show_already_issued, show_once
from lib.admin.render import admin_page

SECTIONS: Any = [
    ("Purpose and owner", {"fields": ["name", "purpose", "owner_choice"]}),
    ("Expiry", {"fields": ["expires", "expires_on", "no_expiry_reason"]}),
    ("Models", {"fields": ["allowed_models"]}),
    (
        "Rate limits",
        {
            "fields": ["requests_per_minute", "tokens_per_minute", "concurrent_requests", "shadow_mode"],
            "description": "Requests over a limit are rejected with 429 and a retry-after header.",
        },
    ),
    (
        "IP allowlist",
        {
            "fields": ["allowed_ips", "allow_any_ip"],
            "description": "Client IP addresses that may use this key.",
        },
    ),
    ("Metadata", {"fields": ["metadata"]}),
]


class KeyDraft:
    """A key that is about to be issued: its form and the formset of its budgets."""

    def __init__(self, request: HttpRequest, model_admin: Any) -> None:
        data = request.POST or None
        models = model_admin.admin_site.model_names()
        self.form = IssueForm(data, initial={"owner_choice": request.user}, suggested_models=models)
        team = self.form.chosen_owner if isinstance(self.form.chosen_owner, Team) else None
        self.budgets: BudgetFormSet = KeyBudgets(budget_form_data(data), instance=APIKey(), team=team)
        self._request, self._model_admin = request, model_admin

    @property
    def is_valid(self) -> bool:
        return bool(self.form.is_valid() & self.budgets.is_valid())

    @property
    def context(self) -> dict[str, Any]:
        """The context of the form's template."""
        admin_form = AdminForm(self.form, [("", {"fields": ["token"]}), *SECTIONS], {}, model_admin=self._model_admin)
        return {"form": self.form, "sections": list(admin_form)[1:], "budgets": self.budgets, **self.preview}

    @property
    def preview(self) -> dict[str, Any]:
        """The summary of the key if the form is valid, else its problems; empty for a form that was not sent."""
        if not self.form.is_bound:
            return {}
        if self.is_valid:
            return {"summary": summary(self.form.instance, [form.instance.spec for form in self.budgets.kept])}
        forms = [self.form, *self.budgets.forms]
        return {"problems": [*(error for form in forms for error in _errors(form)), *self.budgets.non_form_errors()]}

    def issue(self) -> tuple[APIKey, str]:
        """Create the key and its budgets. Raise IntegrityError if the same form has issued a key already."""
        fields = self.form.key_fields() | {"created_by": self._request.user}
        api_key, raw = APIKey.objects.issue(idempotency_key=self.form.cleaned_data["token"], **fields)
        self.budgets.instance = api_key
        self.budgets.save()
        return api_key, raw


def _errors(form: Any) -> Iterator[str]:
    """Yield the errors of a form, each with the label of its field."""
    prefixes = {name: f"{form[name].label}: " for name in form.fields}
    for name, errors in form.errors.items():
        yield from (f"{prefixes.get(name, '')}{error}" for error in errors)


def issue(request: HttpRequest, model_admin: Any) -> HttpResponse:
    if not request.user.has_perm(permissions.ISSUE):
        raise PermissionDenied
    draft = KeyDraft(request, model_admin)
    if not draft.is_valid or "check" in request.POST or "add_budget" in request.POST:
        return admin_page(request, "keys/issue/form.html", {"title": "Issue an API key", **draft.context})
    token = draft.form.cleaned_data["token"]
    try:
        with transaction.atomic():
            api_key, raw = draft.issue()
            model_admin.log_addition(request, api_key, api_key.public_id)
    except IntegrityError:
        issued_before = KeySecret.objects.filter(idempotency_key=token).select_related("api_key").first()
        if issued_before is None:
            raise
        return show_already_issued(request, issued_before.api_key)
    return show_once(request, model_admin, api_key, raw)


def preview(request: HttpRequest, model_admin: Any) -> HttpResponse:
    """Render the preview alone, for key_form.js. Changes nothing."""
    if not request.user.has_perm(permissions.ISSUE):
        raise PermissionDenied
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    return render(request, "keys/issue/preview.html", KeyDraft(request, model_admin).preview)
