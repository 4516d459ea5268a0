"""The pages about keys and usage, as answers. Who may see them, and where they are, is the admin's matter."""

from typing import Any

from django.contrib.auth.decorators import permission_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, StreamingHttpResponse
from django.views.decorators.http import require_GET

from audit import log
from keys.forms.fields import find_raw_key
from keys.forms.find_key import FindForm
from keys.forms.period import PeriodForm
from keys.hygiene import findings
from keys.models import UsageRecord
from keys.pages.render import page
from keys.reports import charts
from keys.reports import usage as reports
from keys.reports import usage_csv as export

# ---- keys


def find(request: HttpRequest, model_admin: Any) -> HttpResponse:
    """Lead from a raw key in the body of a POST to the row of its key."""
    if not model_admin.has_view_or_change_permission(request):
        raise PermissionDenied
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    form = FindForm(request.POST)
    pasted = form.cleaned_data["raw_key"] if form.is_valid() else ""
    return model_admin.answer_raw_key(request, find_raw_key(pasted) or "")


@require_GET
@permission_required("keys.view_apikey", raise_exception=True)
def key_hygiene(request: HttpRequest) -> HttpResponse:
    """What should be looked at, with the first keys of each kind and the way to all of them."""
    return page(request, "keys/hygiene/page.html", {"title": "Key hygiene", "found": findings.examine()})


# ---- usage


@require_GET
@permission_required("keys.view_usagerecord", raise_exception=True)
def usage(request: HttpRequest) -> HttpResponse:
    """A period added up: totals, one chart by day, tables by key and by model."""
    form = PeriodForm(request.GET)
    report = reports.report(form.chosen_period())
    context = {"form": form, "chosen": form.chosen(), "report": report, "chart": charts.requests_by_day(report.days)}
    return page(request, "keys/usage/report.html", {"title": "Usage", **context})


@require_GET
@permission_required("keys.export_usage", raise_exception=True)
def usage_csv(request: HttpRequest) -> StreamingHttpResponse:
    """The finest parts of the same period, one a line."""
    period = PeriodForm(request.GET).chosen_period()
    log.note_export(UsageRecord, f"{period.first} to {period.last}")
    return StreamingHttpResponse(
        export.csv_lines(period),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="usage_{period.first}_{period.last}.csv"'},
    )
