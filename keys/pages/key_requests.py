"""Pages of key requests: asking for a key or an increase, and the page of a request with its buttons."""

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import IntegrityError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from keys.access.team_scope import in_scope, teams_of
from keys.domain import amounts
from keys.domain.limits import LIMIT_LABELS
from keys.forms.key_requests import IncreaseForm, KeyRequestForm, NewKeyForm
from keys.key_requests import workflow
from keys.key_requests.notices import DECIDE
from keys.key_requests.workflow import Conflict
from keys.models import APIKey, KeyRequest, Team
from keys.pages.permissions import CHANGE_BUDGET
from keys.pages.raw_key import show_once
from lib.admin.render import admin_page

ASK = "keys.add_keyrequest"
CHANGE_KEY = "keys.change_apikey"
Kind = KeyRequest.RequestKind


def ask_for_key(request: HttpRequest, model_admin: Any) -> HttpResponse:
    """Show and handle the form of a request for a new key of one of the user's teams."""
    if not request.user.has_perm(ASK):
        raise PermissionDenied
    teams = Team.objects.filter(in_scope(request.user, "pk"), disabled_at=None)
    # Patterns of routes may name models that other teams use.
    form = NewKeyForm(request.POST or None, teams=teams, suggested_models=[])
    if request.method == "POST" and form.is_valid():
        fields = {"kind": Kind.KEY, "team": form.cleaned_data["team"]}
        if response := _send(request, form, fields):
            return response
    context = {"title": "Request an API key", "form": form, "has_teams": teams.exists()}
    return admin_page(request, "keys/key_requests/ask.html", context)


def ask_for_increase(request: HttpRequest, model_admin: Any, api_key: APIKey) -> HttpResponse:
    """Show and handle the form of a request for higher limits of a key of one of the user's teams."""
    if not request.user.has_perm(ASK) or api_key.team is None:
        raise PermissionDenied
    form = IncreaseForm(request.POST or None, api_key=api_key)
    is_closed = api_key.revoked_at is not None or api_key.team.disabled_at is not None or form.is_empty
    if request.method == "POST" and not is_closed and form.is_valid():
        fields = {"kind": Kind.INCREASE, "team": api_key.team, "api_key": api_key, "name": api_key.name}
        if response := _send(request, form, fields):
            return response
    context = {"title": f"Request an increase for {api_key.name}", "form": form, "api_key": api_key}
    return admin_page(request, "keys/key_requests/ask.html", {**context, "is_closed": is_closed})


def _send(request: HttpRequest, form: KeyRequestForm, fields: dict[str, Any]) -> HttpResponse | None:
    """Store the request and redirect to its page; None, with an error in the form, beyond the limits of the user."""
    token, user = form.cleaned_data["token"], request.user
    values = {"reason": form.cleaned_data["reason"], "token": token, "requested_by": user}
    asked = KeyRequest(**(form.policy | fields | values))
    try:
        workflow.ask(asked)
    except IntegrityError:
        sent_before = KeyRequest.objects.filter(token=token, requested_by=user.pk).first()
        if sent_before is None:
            raise
        messages.warning(request, "This request was sent already.")
        return HttpResponseRedirect(_url(sent_before))
    except Conflict as conflict:
        form.add_error(None, str(conflict))
        return None
    messages.success(request, "The request is sent. You get an e-mail when it is decided.")
    return HttpResponseRedirect(_url(asked))


# ---- One request.


def key_request(request: HttpRequest, model_admin: Any, found: KeyRequest) -> HttpResponse:
    """Show a request; approve, decline or withdraw it, or show its key, as the pressed button says."""
    may = permitted(request.user, found)
    form = _decision_form(request, found) if may["decide"] else None
    if request.method == "POST":
        action = next((name for name in ACTIONS if name in request.POST), None)
        if action is None:
            return HttpResponseRedirect(_url(found))
        try:
            response = ACTIONS[action](request, model_admin, found, form)
        except Conflict as conflict:
            return _page(request, model_admin, found.pk, form=None, conflict=str(conflict))
        if response is not None:
            return response
    return _page(request, model_admin, found.pk, form=form)


def permitted(user: Any, found: KeyRequest) -> dict[str, bool]:
    """Return what the user may do with the request in its current state."""
    is_own = found.requested_by_id == user.pk
    return {
        "decide": found.is_pending and may_decide(user, found),
        "withdraw": found.is_pending and is_own,
        "reveal": found.awaits_reveal and not found.is_expired and is_own,
    }


def may_decide(user: Any, found: KeyRequest) -> bool:
    """Return whether the user may decide requests like this one: as the same change by itself would need."""
    needed = [DECIDE]
    if found.kind == Kind.INCREASE:
        needed += [CHANGE_BUDGET if found.budget_id else CHANGE_KEY]
    return teams_of(user) is None and all(map(user.has_perm, needed))


def _decision_form(request: HttpRequest, found: KeyRequest) -> KeyRequestForm | None:
    data = request.POST if {"approve", "decline"} & set(request.POST) else None
    form: KeyRequestForm
    if found.kind == Kind.KEY:
        form = NewKeyForm(data, instance=found, teams=Team.objects.none(), suggested_models=[])
    elif found.api_key is not None:
        form = IncreaseForm(data, instance=found, api_key=found.api_key)
    else:
        return None
    form.make_decision()
    return form


def _approve(request: HttpRequest, model_admin: Any, found: KeyRequest, form: Any) -> HttpResponse | None:
    _check(may_decide(request.user, found))
    if form is None:  # decided meanwhile, or without its key: the workflow says so
        workflow.approve(found.pk, by=request.user, values={}, note="")
    elif form.is_valid():
        try:
            workflow.approve(found.pk, by=request.user, values=form.policy, note=form.cleaned_data["note"])
        except ValidationError as error:
            raise Conflict(" ".join(error.messages)) from error
        messages.success(request, "The request is approved.")
        return HttpResponseRedirect(_url(found))
    return None


def _decline(request: HttpRequest, model_admin: Any, found: KeyRequest, form: Any) -> HttpResponse | None:
    _check(may_decide(request.user, found))
    if form is not None and form["note"].errors:
        return None
    workflow.decline(found.pk, by=request.user, note=form.cleaned_data["note"] if form is not None else "")
    messages.success(request, "The request is declined.")
    return HttpResponseRedirect(_url(found))


def _withdraw(request: HttpRequest, model_admin: Any, found: KeyRequest, form: Any) -> HttpResponse | None:
    _check(found.requested_by_id == request.user.pk)
    workflow.withdraw(found.pk)
    messages.success(request, "The request is withdrawn.")
    return HttpResponseRedirect(_url(found))


def _reveal(request: HttpRequest, model_admin: Any, found: KeyRequest, form: Any) -> HttpResponse | None:
    """Respond to the POST with the raw key: it is in no other response."""
    _check(found.requested_by_id == request.user.pk)
    api_key, raw = workflow.reveal(found.pk, by=request.user)
    return show_once(request, model_admin, api_key, raw)


ACTIONS = {"approve": _approve, "decline": _decline, "withdraw": _withdraw, "reveal": _reveal}
"""The function of each button, by its name in the form."""


def _check(is_permitted: bool) -> None:
    if not is_permitted:
        raise PermissionDenied


def _page(
    request: HttpRequest, model_admin: Any, pk: int, *, form: KeyRequestForm | None, conflict: str = ""
) -> HttpResponse:
    # Read again: a form changes its instance in memory, and a conflict means that the row has changed.
    found = model_admin.get_queryset(request).get(pk=pk)
    may = permitted(request.user, found)
    context = {
        "title": str(found),
        "original": found,
        "asked": values_of(found),
        "may": may,
        "form": form if may["decide"] else None,
        "conflict": conflict,
        "reveal_days": workflow.REVEAL_WITHIN.days,
    }
    return admin_page(request, "keys/key_requests/request.html", context, status=409 if conflict else 200)


def values_of(found: KeyRequest) -> list[tuple[str, str]]:
    """Return the asked or approved values with their labels."""
    rows = [(LIMIT_LABELS[name].capitalize(), getattr(found, name)) for name in LIMIT_LABELS]
    values = [(label, f"{value:,}") for label, value in rows if value is not None]
    if found.budget_amount is not None and found.kind == Kind.KEY:
        values.append(("Budget", f"{amounts.format_amount(found.budget_amount, 'usd')} per month"))
    elif found.budget_amount is not None and found.budget is not None:
        amount = amounts.format_amount(found.budget_amount, found.budget.unit)
        values.append(("Budget", f"{amount} {found.budget.get_period_display()}"))
    if found.kind == Kind.KEY:
        values.append(("Models", ", ".join(found.allowed_models) or "all models of the team"))
        values.append(("Expires", f"{found.expires_in_days} days after the key is shown"))
    return values


def _url(found: KeyRequest) -> str:
    return reverse("admin:keys_keyrequest_change", args=[found.pk])
