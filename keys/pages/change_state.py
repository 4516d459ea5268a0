"""Disabling, enabling and revoking: each is asked for on one page, and done by the answer to it."""

from typing import Any

from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from keys.display.state_changes import STREAMS_END_WITHIN_S, KeyStateChange
from keys.forms.revoke import RevokeForm, RevokeOneForm
from keys.models import APIKey
from keys.pages.render import page
from keys.reports.key_activity import COUNTED_CALLS, count_of_last_hour


def change_one(request: HttpRequest, model_admin: Any, api_key: APIKey, change: KeyStateChange) -> HttpResponse:
    """One key, with what is known of its use."""
    if not request.user.has_perm(change.permission):
        raise PermissionDenied
    address = reverse("admin:keys_apikey_change", args=[api_key.pk])
    if not change.applies_to(api_key):
        messages.warning(request, f"There is nothing to do. State of this key: {api_key.state}.")
        return HttpResponseRedirect(address)
    data = request.POST if request.method == "POST" else None
    form = RevokeOneForm(data, api_key=api_key) if change.needs_reason else None
    if request.method == "POST" and (form is None or form.is_valid()):
        _apply(request, model_admin, [api_key], change, form.why if form else {})
        messages.success(request, f"The key {api_key.name} is {change.done}.")
        return HttpResponseRedirect(address)
    requests = count_of_last_hour(api_key)
    context = {
        "title": f"{change.verb} {api_key.name}",
        "api_key": api_key,
        "change": change,
        "form": form,
        "requests": f"more than {COUNTED_CALLS:,}" if requests == COUNTED_CALLS else f"{requests:,}",
        "is_used": requests > 0,
        "streams_end_within": STREAMS_END_WITHIN_S,
    }
    return page(request, "keys/key/change_state.html", context)


def change_several(
    request: HttpRequest, model_admin: Any, api_keys: list[APIKey], change: KeyStateChange
) -> HttpResponse:
    """Those of some keys that the change applies to."""
    confirmed = "confirmed" in request.POST
    form = RevokeForm(request.POST if confirmed else None) if change.needs_reason else None
    affected = [api_key for api_key in api_keys if change.applies_to(api_key)]
    if not confirmed or (form and not form.is_valid()):
        context = {
            "title": f"{change.verb} API keys",
            "change": change,
            "affected": affected,
            "unaffected": [api_key for api_key in api_keys if not change.applies_to(api_key)],
            "form": form,
            "checkbox_name": ACTION_CHECKBOX_NAME,
        }
        return page(request, "keys/list/confirm_change.html", context)
    _apply(request, model_admin, affected, change, form.cleaned_data if form else {})
    messages.success(request, f"{len(affected)} API key{'' if len(affected) == 1 else 's'} {change.done}.")
    return HttpResponseRedirect(reverse("admin:keys_apikey_changelist"))


@transaction.atomic
def _apply(
    request: HttpRequest, model_admin: Any, api_keys: list[APIKey], change: KeyStateChange, why: dict[str, str]
) -> None:
    for api_key in api_keys:
        change.apply(api_key, **why)
        model_admin.log_change(request, api_key, change.done.capitalize())
