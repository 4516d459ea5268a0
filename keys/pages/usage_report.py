"""Usage report page and its CSV export."""

from django.contrib.auth.decorators import permission_required
from django.http import FileResponse, HttpRequest, HttpResponse
from django.views.decorators.http import require_GET

from audit import log
from keys.forms.period import PeriodForm
from keys.models import UsageRecord
from keys.reports import charts, usage_csv
from keys.reports import usage_report as reports
from keys.usage.zone_notices import notices
from lib.admin.csv_download import csv_download
from lib.admin.render import admin_page


@require_GET
@permission_required("keys.view_usagerecord", raise_exception=True)
def usage_report(request: HttpRequest) -> HttpResponse:
    """Show totals, a chart per day, and tables per key and per model for the period in the query string."""
    form = PeriodForm(request.GET)
    report = reports.report(form.chosen_period())
    context = {"form": form, "chosen": form.chosen(), "report": report, "chart": charts.requests_per_day(report.days)}
    context["notices"] = notices()
    return admin_page(request, "keys/usage/report.html", {"title": "Usage", **context})


@require_GET
@permission_required("keys.export_usage", raise_exception=True)
def usage_report_csv(request: HttpRequest) -> FileResponse:
    """Return the hourly rollups of the same period as CSV and note the export in the audit log."""
    period = PeriodForm(request.GET).chosen_period()
    log.record_export(UsageRecord, f"{period.first} to {period.last}")
    return csv_download(usage_csv.csv_lines(period), filename=f"usage_{period.first}_{period.last}.csv")
