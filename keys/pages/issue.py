"""Issuing a key: the form, and as the answer to its POST the raw key, there and nowhere else."""

from typing import Any

from django.contrib.admin.helpers import AdminForm
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import render

from keys.display.summary import summary
from keys.forms.budgets import BudgetFormSet, KeyBudgets, rows_of
from keys.forms.issue import IssueForm
from keys.models import APIKey, KeySecret, Team
from keys.pages.raw_key import show_already_issued, show_once
from lib.admin.render import admin_page

SECTIONS: Any = [
    ("Purpose and owner", {"fields": ["name", "purpose", "owner_choice"]}),
    ("Expiry", {"fields": ["expires", "expires_on", "no_expiry_reason"]}),
    ("Models", {"fields": ["allowed_models"]}),
    (
        "Limits",
        {
            "fields": ["requests_per_minute", "tokens_per_minute", "concurrent_requests", "shadow_mode"],
            "description": "How much at a time. A call beyond a limit is refused with 429 and told when to try again.",
        },
    ),
    ("Addresses", {"fields": ["allowed_ips", "any_address"], "description": "Where its calls may come from."}),
    ("Notes", {"fields": ["metadata"]}),
]


class KeyDraft:
    """A key that somebody is about to issue: the form and its budgets."""

    def __init__(self, request: HttpRequest, model_admin: Any) -> None:
        data = request.POST or None
        offers = model_admin.admin_site.model_names()
        self.form = IssueForm(data, initial={"owner_choice": request.user}, offers=offers)
        team = self.form.chosen_owner if isinstance(self.form.chosen_owner, Team) else None
        self.budgets: BudgetFormSet = KeyBudgets(rows_of(data), instance=APIKey(), team=team)
        self._request, self._model_admin = request, model_admin

    @property
    def is_valid(self) -> bool:
        return bool(self.form.is_valid() & self.budgets.is_valid())

    @property
    def context(self) -> dict[str, Any]:
        """What the form's template shows."""
        admin_form = AdminForm(self.form, [("", {"fields": ["token"]}), *SECTIONS], {}, model_admin=self._model_admin)
        return {"form": self.form, "sections": list(admin_form)[1:], "budgets": self.budgets, **self.preview}

    @property
    def preview(self) -> dict[str, Any]:
        """What the key will be able to do, or what is missing until then."""
        if not self.form.is_bound:
            return {}
        if self.is_valid:
            return {"summary": summary(self.form.instance, [form.instance.spec for form in self.budgets.kept])}
        forms = [self.form, *self.budgets.forms]
        return {"missing": [*(said for form in forms for said in _said(form)), *self.budgets.non_form_errors()]}

    def issue(self) -> tuple[APIKey, str]:
        """Raise IntegrityError if this very form has issued a key before."""
        fields = self.form.key_fields() | {"created_by": self._request.user}
        api_key, raw = APIKey.objects.issue(idempotency_key=self.form.cleaned_data["token"], **fields)
        self.budgets.instance = api_key
        self.budgets.save()
        return api_key, raw


def _said(form: Any) -> list[str]:
    """The errors of a form, each with the name of its field."""
    named = {name: f"{form[name].label}: " for name in form.fields}
    return [f"{named.get(name, '')}{error}" for name, errors in form.errors.items() for error in errors]


def issue(request: HttpRequest, model_admin: Any) -> HttpResponse:
    if not model_admin.has_add_permission(request):
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
        return show_already_issued(request, model_admin, issued_before.api_key)
    return show_once(request, model_admin, api_key, raw)


def preview(request: HttpRequest, model_admin: Any) -> HttpResponse:
    """What the form would issue, for the page's script: the same part of the page, alone. Changes nothing."""
    if not model_admin.has_add_permission(request):
        raise PermissionDenied
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    return render(request, "keys/issue/preview.html", KeyDraft(request, model_admin).preview)
