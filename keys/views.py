"""The pages about keys and usage, as answers. Who may see them, and where they are, is the admin's matter."""

from typing import Any

from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME, AdminForm
from django.contrib.auth.decorators import permission_required
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, StreamingHttpResponse
from django.urls import reverse
from django.views.decorators.http import require_GET

from keys import charts, export, reports
from keys.forms import FindForm, IssueForm, PeriodForm, RevokeForm, find_raw_key
from keys.lifecycle import Change
from keys.models import APIKey
from keys.pages import NOT_STORED
from keys.pages import page as _page
from keys.snippets import EXAMPLE_MODEL, snippets

ISSUE_FIELDS: Any = [(None, {"fields": ["name", "owner", "expires", "expires_on", "allowed_models", "token"]})]

# ---- keys


def issue(request: HttpRequest, model_admin: Any) -> HttpResponse:
    """The form, and as the answer to its POST the raw key: there and nowhere else."""
    if not model_admin.has_add_permission(request):
        raise PermissionDenied
    form: Any = IssueForm(request.POST or None, initial={"owner": request.user})
    if not form.is_valid():
        admin_form = AdminForm(form, ISSUE_FIELDS, {}, model_admin=model_admin)
        return _page(request, "keys/issue.html", {"title": "Issue an API key", "form": form, "adminform": admin_form})
    token = form.cleaned_data["token"]
    try:
        with transaction.atomic():
            api_key, raw = APIKey.objects.issue(token=token, **form.key_fields())
            model_admin.log_addition(request, api_key, api_key.public_id)
    except IntegrityError:
        issued_before = APIKey.objects.filter(secrets__issue_token=token).first()
        if issued_before is None:
            raise
        return _already_issued(request, issued_before)
    return _issued(request, api_key, raw)


def _issued(request: HttpRequest, api_key: APIKey, raw: str) -> HttpResponse:
    model = next((name for name in api_key.allowed_models if not name.endswith("*")), EXAMPLE_MODEL)
    ways = snippets(raw, origin=f"{request.scheme}://{request.get_host()}", model=model)
    context = {"title": "Key issued", "api_key": api_key, "raw": raw, "snippets": ways}
    return _page(request, "keys/issued.html", context, headers=NOT_STORED)


def _already_issued(request: HttpRequest, api_key: APIKey) -> HttpResponse:
    context = {"title": "Already issued", "api_key": api_key}
    return _page(request, "keys/already_issued.html", context, status=409, headers=NOT_STORED)


def find(request: HttpRequest, model_admin: Any) -> HttpResponse:
    """Lead from a raw key in the body of a POST to the row of its key."""
    if not model_admin.has_view_or_change_permission(request):
        raise PermissionDenied
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    form = FindForm(request.POST)
    pasted = form.cleaned_data["raw_key"] if form.is_valid() else ""
    return model_admin.answer_raw_key(request, find_raw_key(pasted) or "")


def change_state(request: HttpRequest, model_admin: Any, api_keys: list[APIKey], change: Change) -> HttpResponse:
    """Ask for a confirmation, then change the keys that the change applies to."""
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
        return _page(request, "keys/confirm_change.html", context)
    with transaction.atomic():
        for api_key in affected:
            change.apply(api_key, **(form.cleaned_data if form else {}))
            model_admin.log_change(request, api_key, change.done.capitalize())
    messages.success(request, f"{len(affected)} API key{'' if len(affected) == 1 else 's'} {change.done}.")
    return HttpResponseRedirect(reverse("admin:keys_apikey_changelist"))


# ---- usage


@require_GET
@permission_required("keys.view_usagerecord", raise_exception=True)
def usage(request: HttpRequest) -> HttpResponse:
    """A period added up: totals, one chart by day, tables by key and by model."""
    form = PeriodForm(request.GET)
    report = reports.report(form.chosen_period())
    context = {"form": form, "chosen": form.chosen(), "report": report, "chart": charts.calls_by_day(report.days)}
    return _page(request, "keys/usage.html", {"title": "Usage", **context})


@require_GET
@permission_required("keys.export_usage", raise_exception=True)
def usage_csv(request: HttpRequest) -> StreamingHttpResponse:
    """The finest parts of the same period, one a line."""
    period = PeriodForm(request.GET).chosen_period()
    return StreamingHttpResponse(
        export.csv_lines(period),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="usage_{period.first}_{period.last}.csv"'},
    )
