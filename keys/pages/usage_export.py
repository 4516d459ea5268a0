"""Downloads of the usage page and of the explorer: exactly what they show."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.decorators import permission_required
from django.http import FileResponse, HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_GET

from audit import log
from keys.access.team_scope import team_scoped, teams_of
from keys.explore import intervals, question, record_filters
from keys.explore.answer import answer
from keys.explore.question import Question
from keys.explore.record_filters import RecordFilters
from keys.explore.record_pages import listed
from keys.exports.answers import answer_table, chart_table
from keys.exports.focus import focus_table
from keys.exports.formats import FORMATS
from keys.exports.records import records_table
from keys.exports.tables import ExportTable
from keys.models import UsageRecord
from lib.admin.download import download
from lib.query_limit import QueryTimeout

PARAMETERS = ("export", "format", "cols", *record_filters.PARAMETERS)
"""Those besides the question's. The filters of single records are for the export of requests."""
TOO_BROAD = "This export takes too long. Choose a shorter range, or a filter."


@dataclass(frozen=True, kw_only=True, slots=True)
class UsageExport:
    """Something that can be downloaded."""

    label: str
    table: Callable[..., ExportTable]


def _of_answer(
    table: Callable[..., ExportTable], asked: Question, filters: RecordFilters, *, query: dict[str, str]
) -> ExportTable:
    return table(answer(asked), query=query)


def _of_records(asked: Question, filters: RecordFilters, *, query: dict[str, str]) -> ExportTable:
    return records_table(listed(asked, filters), query=query, teams=asked.teams)


def _of_charges(asked: Question, filters: RecordFilters, *, query: dict[str, str]) -> ExportTable:
    return focus_table(asked, query=query)


EXPORTS = {
    "table": UsageExport(label="Table", table=partial(_of_answer, answer_table)),
    "chart": UsageExport(label="Chart", table=partial(_of_answer, chart_table)),
    "requests": UsageExport(label="Requests", table=_of_records),
    "focus": UsageExport(label="FOCUS 1.2", table=_of_charges),
}


@team_scoped
@require_GET
@permission_required("keys.export_usage", raise_exception=True)
def usage_export(request: HttpRequest) -> FileResponse | HttpResponse:
    """Return the export and the format that the query string names, of its question. Note it in the audit log."""
    export = EXPORTS.get(request.GET.get("export") or "table")
    form = FORMATS.get(name := request.GET.get("format") or "csv")
    if export is None or form is None:
        exports, formats = ", ".join(EXPORTS), ", ".join(FORMATS)
        return HttpResponse(f"Use one of export={exports} and format={formats}.", status=400, content_type="text/plain")
    asked, notes = question.parse(request.GET, others=PARAMETERS)
    asked = replace(asked, teams=teams_of(request.user))
    filters, more_notes = record_filters.parse(request.GET)
    try:
        table = export.table(asked, filters, query=_query_of(asked, filters, [*notes, *more_notes]))
    except QueryTimeout:
        return HttpResponse(TOO_BROAD, status=400, content_type="text/plain")
    log.record_export(UsageRecord, f"{export.label}, {name}: {asked.query()}")
    return download(partial(form.write, table), filename=_filename(asked, table, name), content_type=form.content_type)


def _query_of(asked: Question, filters: RecordFilters, notes: list[str]) -> dict[str, Any]:
    """Return what the file contains: its question as in URLs, with absolute times, the time zone, what was left out."""
    begin, end = (intervals.local(each).isoformat() for each in (asked.interval.begin, asked.interval.end))
    found = {"from": begin, "to": end, "time_zone": timezone.get_default_timezone_name(), "question": asked.query()}
    if not filters.is_empty:
        found["filters"] = urlencode(list(filters.parameters()))
    return found | ({"left_out": " ".join(notes)} if notes else {})


def _filename(asked: Question, table: ExportTable, extension: str) -> str:
    begin, end = (intervals.local(each) for each in (asked.interval.begin, asked.interval.end))
    return f"{table.name}_{begin:%Y%m%dT%H%M}_{end:%Y%m%dT%H%M}.{extension}"
