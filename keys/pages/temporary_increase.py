"""Page that sets or ends the temporary increase of a key's budget."""

from datetime import datetime, timedelta
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone

from keys.budgets import status
from keys.domain.amounts import format_amount
from keys.forms.temporary_increase import TemporaryIncreaseForm
from keys.models import APIKey, Budget
from keys.pages.permissions import CHANGE_BUDGET
from lib.admin.render import admin_page

DEFAULT_DURATION = timedelta(days=7)


def temporary_increase(request: HttpRequest, model_admin: Any, api_key: APIKey, budget_id: int) -> HttpResponse:
    if not request.user.has_perm(CHANGE_BUDGET):
        raise PermissionDenied
    budget = Budget.objects.filter(pk=budget_id, api_key=api_key).first()
    if budget is None:
        raise Http404
    budget_status = status.for_budgets([budget])[0]
    key_url = reverse("admin:keys_apikey_change", args=[api_key.pk])
    if request.method == "POST" and "end" in request.POST:
        with transaction.atomic():
            budget.clear_temporary_increase()
            model_admin.log_change(request, api_key, f"Temporary increase of budget {budget} ended")
        messages.success(request, f"The budget is {format_amount(budget.amount, budget.unit)} again.")
        return HttpResponseRedirect(key_url)
    initial = {"until": _default_end(budget_status.resets_at)}
    form = TemporaryIncreaseForm(request.POST or None, budget=budget, team=api_key.team, initial=initial)
    if form.is_valid():
        amount, until = form.cleaned_data["temporary_increase"], form.cleaned_data["until"]
        with transaction.atomic():
            budget.set_temporary_increase(amount, until=until)
            model_admin.log_change(
                request,
                api_key,
                f"Budget {budget} increased by {format_amount(amount, budget.unit)} until {_local(until)}",
            )
        limit = format_amount(budget.limit_at(timezone.now()), budget.unit)
        messages.success(request, f"The budget is {limit} until {_local(until)}, effective immediately.")
        return HttpResponseRedirect(key_url)
    context = {"title": "Temporary increase", "api_key": api_key, "status": budget_status, "form": form}
    return admin_page(request, "keys/key/temporary_increase.html", context)


def _default_end(resets_at: datetime | None) -> datetime:
    """Return the end of the period: an increase that lasts longer would raise two periods."""
    return resets_at or timezone.now() + DEFAULT_DURATION


def _local(moment: datetime) -> str:
    return f"{timezone.localtime(moment):%Y-%m-%d %H:%M}"
