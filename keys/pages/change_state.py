"""Confirmation pages for disabling, enabling and revoking API keys and teams."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from keys.display.state_changes import STREAM_TERMINATION_S, StateChange
from keys.forms.revoke import RevokeForm, RevokeOneForm
from keys.models import APIKey
from keys.reports.key_activity import COUNTED_REQUESTS, count_of_last_hour
from lib.admin.render import admin_page


def change_one(request: HttpRequest, model_admin: Any, api_key: APIKey, change: StateChange) -> HttpResponse:
    """Confirm and apply a change of one key; the page shows how much the key is used."""
    if not request.user.has_perm(change.permission):
        raise PermissionDenied
    key_url = reverse("admin:keys_apikey_change", args=[api_key.pk])
    if not change.applies_to(api_key):
        messages.warning(request, f"Nothing to change. State of this key: {api_key.state.label.lower()}.")
        return HttpResponseRedirect(key_url)
    data = request.POST if request.method == "POST" else None
    form = RevokeOneForm(data, api_key=api_key) if change.needs_reason else None
    if request.method == "POST" and (form is None or form.is_valid()):
        _apply(request, model_admin, [api_key], change, form.revocation if form else {})
        messages.success(request, f"The key {api_key.name} is {change.done}.")
        return HttpResponseRedirect(key_url)
    requests = count_of_last_hour(api_key)
    context = {
        "title": f"{change.verb} {api_key.name}",
        "api_key": api_key,
        "change": change,
        "form": form,
        "requests": f"more than {COUNTED_REQUESTS:,}" if requests == COUNTED_REQUESTS else f"{requests:,}",
        "is_used": requests > 0,
        "stream_termination_s": STREAM_TERMINATION_S,
    }
    return admin_page(request, "keys/key/change_state.html", context)


def change_several(
    request: HttpRequest, model_admin: Any, selected: Iterable[Any], change: StateChange, *, template: str
) -> HttpResponse:
    """Confirm and apply a change to those of the selected keys or teams that it applies to."""
    options = model_admin.opts
    confirmed = "confirmed" in request.POST
    form = RevokeForm(request.POST if confirmed else None) if change.needs_reason else None
    affected: list[Any] = []
    unaffected: list[Any] = []
    for each in selected:
        (affected if change.applies_to(each) else unaffected).append(each)
    if not confirmed or (form and not form.is_valid()):
        context = {
            "title": f"{change.verb} {options.verbose_name_plural}",
            "change": change,
            "affected": affected,
            "unaffected": unaffected,
            "form": form,
            "checkbox_name": ACTION_CHECKBOX_NAME,
        }
        return admin_page(request, template, context)
    _apply(request, model_admin, affected, change, form.revocation if form else {})
    noun = options.verbose_name if len(affected) == 1 else options.verbose_name_plural
    messages.success(request, f"{len(affected)} {noun} {change.done}.")
    return HttpResponseRedirect(reverse(f"admin:{options.app_label}_{options.model_name}_changelist"))


@transaction.atomic
def _apply(
    request: HttpRequest, model_admin: Any, affected: Sequence[Any], change: StateChange, why: Mapping[str, str]
) -> None:
    for each in affected:
        change.apply(each, **why)
        model_admin.log_change(request, each, change.done.capitalize())
