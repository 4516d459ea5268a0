"""Admin of bills: list, import, reconciliation of one bill with its lines, and months that are signed off."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST

from keys.bills import results
from keys.bills.deletion import delete_bill, signed_off_with
from keys.bills.importing import import_bill
from keys.bills.lines import BillError
from keys.forms.bills import ImportForm, KeysForm, SignOffForm
from keys.models import Bill, HourlyUsage, SignedOffMonth, UpstreamKeys
from lib import money
from lib.admin import cells
from lib.admin.model_admin import GatewayModelAdmin
from lib.admin.render import admin_page
from lib.pace import pace

LINES_SHOWN = 100
STATE_KINDS = {Bill.State.IMPORTED: "good", Bill.State.SUPERSEDED: "quiet"}
FACTS = ("service_tier", "speed", "inference_geo", "context_window")


@admin.register(Bill)
class BillAdmin(GatewayModelAdmin):
    """Bills are imported and reconciled, not edited: no form changes a line."""

    actions = None
    list_display = ["title", "upstream", "days", "state_badge", "line_count", "billed", "unexplained", "imported_at"]
    list_filter = ["upstream", "format", "state"]
    search_fields = ["file_name", "upstream"]

    @admin.display(description="bill")
    def title(self, bill: Bill) -> str:
        return f"{bill.get_format_display()} ({bill.file_name})"

    @admin.display(description="days (UTC)", ordering="first_day")
    def days(self, bill: Bill) -> str:
        return f"{bill.first_day} to {bill.last_day}"

    @admin.display(description="state", ordering="state")
    def state_badge(self, bill: Bill) -> SafeString:
        return cells.badge(bill.get_state_display(), kind=STATE_KINDS[Bill.State(bill.state)])

    @admin.display(description="billed")
    def billed(self, bill: Bill) -> str:
        return money.exact(bill.result["billed"]) if bill.result else cells.NONE

    @admin.display(description="unexplained")
    def unexplained(self, bill: Bill) -> str:
        return money.exact(bill.result["unexplained"]) if bill.result else cells.NONE

    # ---- Queries and permissions

    def get_queryset(self, request: HttpRequest) -> QuerySet[Bill]:
        return Bill.objects.exclude(state=Bill.State.IMPORTING)

    def has_change_permission(self, request: HttpRequest, obj: Bill | None = None) -> bool:
        return False

    # ---- Deletion

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Return what is deleted without reading millions of lines, and the months that protect a bill."""
        bills = list(objs)
        lines = sum(bill.line_count for bill in bills)
        protected = [
            f"{month}, signed off by {month.signed_off_by}" for bill in bills for month in signed_off_with(bill)
        ]
        return [str(bill) for bill in bills], {"bills": len(bills), "lines": lines}, set(), protected

    def delete_model(self, request: HttpRequest, obj: Bill) -> None:
        delete_bill(obj)

    # ---- Pages

    def get_urls(self) -> list[URLPattern]:
        def url(name: str, view: Any) -> URLPattern:
            return path(f"<path:object_id>/{name}/", self.admin_site.admin_view(view), name=f"keys_bill_{name}")

        return [
            url("lines", self.lines_view),
            url("reconcile", require_POST(self.reconcile_view)),
            url("keys", require_POST(self.keys_view)),
            url("sign_off", require_POST(self.sign_off_view)),
            *super().get_urls(),
        ]

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Import a bill and reconcile it."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = ImportForm(request.POST or None, request.FILES or None) if request.method == "POST" else ImportForm()
        if request.method == "POST" and form.is_valid():
            try:
                return self._import(request, form)
            except BillError as error:
                form.add_error("file", str(error))
        return admin_page(
            request,
            "keys/bills/import.html",
            {"title": "Import bill", "form": form, "upstreams": _upstreams(), "formats": Bill.Format.labels},
        )

    def _import(self, request: HttpRequest, form: ImportForm) -> HttpResponse:
        file = form.cleaned_data["file"]
        imported = import_bill(
            file.file,
            upstream=form.cleaned_data["upstream"],
            file_name=file.name,
            imported_by=request.user.get_username(),
            mapping=form.cleaned_data["columns"],
            pace=pace(),
        )
        if imported.is_new:
            results.reconcile_bill(imported.bill, pace=pace())
            count = imported.bill.line_count
            messages.success(request, f"{count:,} line{'s'[: count != 1]} imported.")
            if imported.bill.upstream not in _upstreams():
                text = f"No request was sent to an upstream named “{imported.bill.upstream}”. If the name is wrong, "
                messages.warning(request, text + "delete this bill and import the file again.")
        else:
            messages.warning(request, "This file was imported before. Nothing was imported.")
        for each in imported.superseded:
            messages.info(request, f"It supersedes {each}.")
        return HttpResponseRedirect(_url_of(imported.bill))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show the reconciliation of a bill."""
        bill = self._bill(request, object_id)
        signed = SignedOffMonth.objects.filter(upstream=bill.upstream, month__in=results.months_of(bill))
        context = {
            "title": f"{bill.upstream}: {bill.get_format_display()}",
            "bill": bill,
            "result": bill.result,
            "badge": self.state_badge(bill),
            "months": results.months_of(bill),
            "signed": [(month, _changes(bill, month)) for month in signed],
            "may_import": self.has_add_permission(request),
            "may_delete": self.has_delete_permission(request, bill),
            "may_sign_off": request.user.has_perm("keys.sign_off_bill"),
        }
        return admin_page(request, "keys/bills/bill.html", context)

    def lines_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show lines of a bill: from a number on, or those at a position in the file."""
        bill = self._bill(request, object_id)
        lines = bill.lines.order_by("number")
        position, first = request.GET.get("position", "").replace("\0", ""), request.GET.get("from", "0")
        if position:
            lines = lines.filter(position=position[:80])
        elif first.isascii() and first.isdigit() and len(first) < 12:
            lines = lines.filter(number__gte=int(first))
        shown = list(lines[: LINES_SHOWN + 1])
        following = shown[LINES_SHOWN].number if len(shown) > LINES_SHOWN and not position else None
        rows = [
            (line, ", ".join(filter(None, (getattr(line, name) for name in FACTS)))) for line in shown[:LINES_SHOWN]
        ]
        context = {"title": "Bill lines", "bill": bill, "rows": rows, "position": position, "following": following}
        return admin_page(request, "keys/bills/lines.html", context)

    # ---- Changes

    def reconcile_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        bill = self._bill(request, object_id, to_change=True)
        results.reconcile_bill(bill, pace=pace())
        return HttpResponseRedirect(_url_of(bill))

    def keys_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Save which keys on the bill are the gateway's, and reconcile it again."""
        bill = self._bill(request, object_id, to_change=True)
        known = list((bill.result or {}).get("bill_keys", []))
        form = KeysForm(request.POST, known=known)
        if not form.is_valid():
            messages.error(request, "Choose keys that are on the bill.")
            return HttpResponseRedirect(_url_of(bill))
        row, _ = UpstreamKeys.objects.get_or_create(upstream=bill.upstream)
        others = [key for key in row.provider_keys if key not in known]  # of other bills: names instead of IDs
        row.provider_keys = sorted({*others, *form.cleaned_data["keys"]})
        row.save()
        results.reconcile_bill(bill, pace=pace())
        return HttpResponseRedirect(_url_of(bill))

    def sign_off_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Keep the figures of a month of the bill as they are now."""
        if not request.user.has_perm("keys.sign_off_bill"):
            raise PermissionDenied
        bill = self._bill(request, object_id)
        form = SignOffForm(request.POST, months=results.months_of(bill))
        if not form.is_valid():
            messages.error(request, "Choose a month of the bill.")
        else:
            signed = results.sign_off(bill, form.cleaned_data["month"], user=request.user, pace=pace())
            messages.success(request, f"{signed.month:%B %Y} signed off.")
        return HttpResponseRedirect(_url_of(bill))

    def _bill(self, request: HttpRequest, object_id: str, *, to_change: bool = False) -> Bill:
        """Return a bill that the user may see, or change. Raise PermissionDenied or Http404."""
        bill = self.get_object(request, object_id)
        if not self.has_view_permission(request) or (to_change and not self.has_add_permission(request)):
            raise PermissionDenied
        if bill is None:
            raise Http404
        return bill


def _url_of(bill: Bill) -> str:
    return reverse("admin:keys_bill_change", args=[bill.pk])


def _upstreams() -> list[str]:
    return sorted(filter(None, HourlyUsage.objects.order_by().values_list("upstream", flat=True).distinct()[:200]))


def _changes(bill: Bill, signed: SignedOffMonth) -> list[tuple[str, int, int]] | None:
    """Return what is no longer as it was signed off: label, amount then, amount now. None: not compared yet."""
    now = ((bill.result or {}).get("months") or {}).get(signed.month.isoformat())
    if now is None:
        return None
    return [(name.capitalize(), *pair) for name, pair in results.changed_figures(signed.figures, now).items()]
