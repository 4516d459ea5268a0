"""Usage page: one question about usage, with cards, a chart, a table and filters; and its CSV export."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import permission_required
from django.core.exceptions import TooManyFieldsSent
from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.urls import reverse
from django.views.decorators.http import require_GET

from audit import log
from keys.access.team_scope import team_scoped, teams_of
from keys.explore import options
from keys.explore.answer import Answer, answer
from keys.explore.intervals import local
from keys.explore.question import Question, parse
from keys.models import UsageRecord
from keys.pages import usage_controls, usage_tables
from keys.pages.saved_views import saved_views
from keys.reports import usage_csv
from keys.reports.date_range import DateRange
from keys.usage.zone_notices import notices
from lib.admin.download import csv_download
from lib.admin.render import admin_page
from lib.query_limit import QueryTimeout

OTHERS = ("add", "add_is", "add_value")
"""The parameters of the form that adds a filter."""
TOO_BROAD = "This question takes too long. Choose a shorter range, a longer bucket, fewer groups, or a filter by key."
MOST_PARAMETERS = 500


@team_scoped
@require_GET
@permission_required("keys.view_usagerecord", raise_exception=True)
def usage(request: HttpRequest) -> HttpResponse:
    """Show the figures of the question in the query string."""
    question, left_out = asked(request)
    if request.GET.get("add") and "add_value" in request.GET:
        return _with_filter(request, question)
    found, problem = _answered(lambda: answer(question, charted_only=True))
    context = {
        "title": "Usage",
        "question": question,
        "left_out": left_out,
        "too_broad": problem,
        "notices": notices(),
        "controls": usage_controls.controls(question),
        "adding": usage_controls.adding(question, request.GET.get("add", "")),
        "saved": saved_views(request.user, question),
        **(_shown(found) if found else {}),
    }
    return admin_page(request, "keys/explore/page.html", context)


def asked(request: HttpRequest) -> tuple[Question, list[str]]:
    """Return the question of a request in the scope of its user, and what of its URL was left out."""
    further = []
    try:
        parameters = request.GET
    except TooManyFieldsSent:
        text = "&".join(request.META.get("QUERY_STRING", "").split("&")[:MOST_PARAMETERS])
        parameters = request.GET = QueryDict(text)
        further = [f"The URL has too many parameters: the first {MOST_PARAMETERS} are used."]
    question, left_out = parse(parameters, others=OTHERS)
    return replace(question, teams=teams_of(request.user)), [*further, *left_out]


def _answered(read: Callable[[], Answer]) -> tuple[Answer | None, str]:
    try:
        return read(), ""
    except QueryTimeout:
        return None, TOO_BROAD


def _shown(found: Answer) -> dict[str, Any]:
    return {
        "cards": usage_tables.cards(found),
        "chart": usage_tables.chart(found),
        "chart_rows": usage_tables.chart_rows(found),
        "table": usage_tables.table(found),
        "sentences": usage_tables.sentences(found),
        "caption": usage_tables.caption(found),
    }


def _with_filter(request: HttpRequest, question: Question) -> HttpResponse:
    """Redirect to the question with the filter of the form."""
    name, text = request.GET["add"], request.GET["add_value"]
    is_excluded = request.GET.get("add_is") == "not"
    try:
        found = options.chosen(question, name, text, is_excluded=is_excluded)
    except QueryTimeout:
        found = None
    if found is None:
        messages.warning(request, "This filter has no such value: choose one of the list.")
    return HttpResponseRedirect(f"{reverse('admin:usage')}?{(found or question).query()}")


@require_GET
@permission_required("keys.export_usage", raise_exception=True)
def usage_csv_export(request: HttpRequest) -> FileResponse:
    """Return the rollups of the days of the question's interval as CSV and note the export in the audit log."""
    interval = asked(request)[0].interval
    last = local(interval.end - timedelta(microseconds=1)).date()
    dates = DateRange(first=local(interval.begin).date(), last=last)
    log.record_export(UsageRecord, f"{dates.first} to {dates.last}")
    return csv_download(usage_csv.csv_lines(dates), filename=f"usage_{dates.first}_{dates.last}.csv")
