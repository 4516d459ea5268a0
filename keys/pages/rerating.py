"""Page of re-rating runs: preview, application, progress and undo."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import permission_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from keys.forms.rerating import ReratingForm
from keys.models import Budget, Rerating, UsageRecord
from keys.reports.date_range import DateRange
from keys.usage import rerating as runs
from keys.usage.rerating import ReratingRejected
from lib.admin.render import admin_page

VIEW, ADD = "keys.view_rerating", "keys.add_rerating"
SHOWN_RUNS = 20
SHOWN_CHANGES = 20
SHOWN_BUDGETS = 50
REFRESH_S = 2
ACTIONS = {"apply": runs.apply, "undo": runs.undo}


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownChange:
    """A changed request."""

    record_id: str
    old: int | None
    new: int | None


@require_http_methods(["GET", "HEAD", "POST"])
@permission_required(VIEW, raise_exception=True)
def rerating(request: HttpRequest) -> HttpResponse:
    """Show the runs, or the run in the query string. POST begins a preview, or applies or undoes the run."""
    run = _chosen(request)
    if request.method == "POST":
        if not request.user.has_perm(ADD):
            raise PermissionDenied
        return _begin(request) if run is None else _act(request, run)
    return _runs(request, ReratingForm()) if run is None else _show(request, run)


def _chosen(request: HttpRequest) -> Rerating | None:
    """Return the run in the query string; None without one. Raise Http404 for one that does not exist."""
    text = request.GET.get("run")
    if text is None:
        return None
    is_number = text.isascii() and text.isdigit() and len(text) < 19
    run = Rerating.objects.filter(pk=int(text)).first() if is_number else None
    if run is None:
        raise Http404
    return run


def _begin(request: HttpRequest) -> HttpResponse:
    form = ReratingForm(request.POST)
    if form.is_valid():
        days = DateRange(first=form.cleaned_data["first"], last=form.cleaned_data["last"])
        first, end = days.bounds()
        names = {name: form.cleaned_data[name] for name in ("model", "upstream")}
        try:
            run = runs.begin(first=first, end=end, user_id=request.user.pk, **names)
        except ReratingRejected as error:
            form.add_error(None, str(error))
        else:
            runs.step(run.pk)  # the whole preview, if it is short
            return HttpResponseRedirect(_url(run))
    return _runs(request, form, status=422)


def _act(request: HttpRequest, run: Rerating) -> HttpResponse:
    action = ACTIONS.get(request.POST.get("action", ""))
    if action is None:
        raise Http404
    try:
        action(run)
        runs.step(run.pk)
    except ReratingRejected as error:
        messages.error(request, str(error))
    return HttpResponseRedirect(_url(run))


def _url(run: Rerating) -> str:
    return f"{reverse('admin:rerating')}?run={run.pk}"


def _runs(request: HttpRequest, form: ReratingForm, *, status: int = 200) -> HttpResponse:
    found = Rerating.objects.select_related("created_by")[:SHOWN_RUNS]
    context = {"title": "Re-rating", "form": form, "runs": found, "may_write": request.user.has_perm(ADD)}
    return admin_page(request, "keys/rerating/runs.html", context, status=status)


def _show(request: HttpRequest, run: Rerating) -> HttpResponse:
    context = {
        "title": f"Re-rating {run.pk}",
        "run": run,
        "percent": 100 * run.records // run.previewed_records if run.previewed_records else None,
        "budgets": _budgets(run),
        "changes": list(_changes(run)),
        "may_write": request.user.has_perm(ADD),
        "refresh_s": REFRESH_S,
    }
    return admin_page(request, "keys/rerating/run.html", context)


def _budgets(run: Rerating) -> list[dict[str, Any]]:
    found = Budget.objects.select_related("api_key", "team").filter(pk__in=run.budgets[:SHOWN_BUDGETS]).order_by("pk")
    return [{"owner": str(each.api_key or each.team), "budget": str(each)} for each in found]


def _changes(run: Rerating) -> Iterable[ShownChange]:
    rows = list(run.changes.order_by("pk")[:SHOWN_CHANGES])
    existing = set(UsageRecord.objects.filter(pk__in=[row.record_id for row in rows]).values_list("pk", flat=True))
    for row in rows:
        if row.record_id in existing:
            old, new = row.before["cost_usd_picos"], row.after["cost_usd_picos"]
            yield ShownChange(record_id=row.record_id, old=old, new=new)
