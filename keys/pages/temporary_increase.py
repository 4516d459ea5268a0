"""A budget that is higher for now: asked for, and taken back."""

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
from lib.admin.render import admin_page

WEEK = timedelta(days=7)


def temporary_increase(request: HttpRequest, model_admin: Any, api_key: APIKey, budget_id: int) -> HttpResponse:
    if not request.user.has_perm("keys.change_budget"):
        raise PermissionDenied
    budget = Budget.objects.filter(pk=budget_id, api_key=api_key).first()
    if budget is None:
        raise Http404
    row = status.for_budgets([budget])[0]
    address = reverse("admin:keys_apikey_change", args=[api_key.pk])
    if request.method == "POST" and "end" in request.POST:
        with transaction.atomic():
            budget.clear_temporary_increase()
            model_admin.log_change(request, api_key, f"Increase of the budget {budget} ended")
        messages.success(request, f"The budget is {format_amount(budget.amount, budget.unit)} again.")
        return HttpResponseRedirect(address)
    form = TemporaryIncreaseForm(
        request.POST or None, budget=budget, team=api_key.team, initial={"until": _proposed(row.resets_at)}
    )
    if form.is_valid():
        more, until = form.cleaned_data["temporary_increase"], form.cleaned_data["until"]
        with transaction.atomic():
            budget.set_temporary_increase(more, until=until)
            model_admin.log_change(
                request,
                api_key,
                f"Budget {budget} raised by {format_amount(more, budget.unit)} until {_moment(until)}",
            )
        limit = format_amount(budget.limit_at(timezone.now()), budget.unit)
        messages.success(request, f"The budget is {limit} until {_moment(until)}. This holds at once.")
        return HttpResponseRedirect(address)
    context = {"title": "Raise a budget for now", "api_key": api_key, "row": row, "form": form}
    return admin_page(request, "keys/key/temporary_increase.html", context)


def _proposed(resets_at: datetime | None) -> datetime:
    """Until the period ends, since what is raised beyond that is raised twice."""
    return resets_at or timezone.now() + WEEK


def _moment(moment: datetime) -> str:
    return f"{timezone.localtime(moment):%Y-%m-%d %H:%M}"
