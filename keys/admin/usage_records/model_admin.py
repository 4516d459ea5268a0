"""ModelAdmin of usage records: read-only for superusers too, since only the ledger writes them."""

from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import ObjectDoesNotExist
from django.db.models import BooleanField, QuerySet, Value
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from keys.admin.cost_fields import CostFields, with_values
from keys.admin.team_scoped import TeamScopedAdmin
from keys.admin.usage_records import columns
from keys.admin.usage_records.canonical import canonical
from keys.admin.usage_records.change_list import ExplorerChangeList
from keys.admin.usage_records.filter_form import FilterForm
from keys.display.snippets import request_as_curl
from keys.explore.dimensions import API_FORMATS
from keys.models import UsageRecord
from keys.pricing.breakdown import cost_breakdown
from keys.reports.request_limits import request_limits
from keys.reports.request_timeline import attempts, timeline
from lib import failure_reasons, money
from lib.admin import cells
from lib.admin.keyset_list import KeysetModelAdmin

Status = UsageRecord.Status

STATUS_KINDS = {
    Status.STARTED: "quiet",
    Status.COMPLETED: "good",
    Status.FAILED: "bad",
    Status.CLIENT_CLOSED: "warn",
    Status.CLIENT_STALLED: "warn",
    Status.INTERRUPTED: "bad",
    Status.REJECTED: "warn",
}


@admin.register(UsageRecord)
class UsageRecordAdmin(TeamScopedAdmin, CostFields, KeysetModelAdmin):
    """The table grows without limit: no page counts it, sorts it by another column or lists distinct values."""

    team_path = "team_id"
    change_form_template = "admin/keys/usagerecord/change_form.html"
    change_list_template = "admin/keys/usagerecord/change_list.html"
    fieldsets = [
        ("Request", {"fields": ["id", "outcome", "http", "error_type", "reason", "stop_reason", "created", "settled"]}),
        (
            "Client",
            {
                "fields": [
                    "key",
                    "team_name",
                    "owner_name",
                    "api",
                    "model",
                    "is_streamed",
                    "client_ip",
                    "user_agent",
                    "client_request_id",
                    "session_id",
                    "agent_id",
                    "parent_agent_id",
                    "request_class",
                    "client_tags",
                ],
                "description": "Prompts and responses are not stored: no page and no export has them.",
            },
        ),
        (
            "Upstream",
            {"fields": ["upstream", "upstream_model", "upstream_request_id", "message_id"]},
        ),
        (
            "Tokens",
            {
                "fields": [
                    "input_tokens",
                    "output_tokens",
                    "thinking_tokens",
                    "cache_read_tokens",
                    "cache_write_5m_tokens",
                    "cache_write_1h_tokens",
                    "usage_source",
                    "estimated_input_tokens",
                ],
                "description": f"{cells.NONE} means not reported. Reasoning tokens are part of the output tokens.",
            },
        ),
        (
            "Cost",
            {
                "fields": ["amount", "price_row"],
                "description": "Priced with the price valid when the request started. "
                "Unpriced: no price was configured, or it does not know what was served.",
            },
        ),
        ("Latency and worker", {"fields": ["time_to_first_token", "latency", "lease_expires", "boot_id"]}),
    ]
    # Columns are chosen: get_list_display. Filters and search are those of the explorer: ExplorerChangeList.
    list_display = [columns.FIRST, *columns.DEFAULT]

    @admin.display(description="time")
    def created(self, record: UsageRecord) -> SafeString | str:
        return cells.exact(record.created_at)

    @admin.display(description="settled")
    def settled(self, record: UsageRecord) -> SafeString | str:
        return cells.exact(record.settled_at, none="not yet")

    @admin.display(description="interrupted before")
    def interrupted_before(self, record: UsageRecord) -> SafeString:
        """Return what the request was counted as until its real settlement arrived."""
        interruption = record.interruption or {}
        picos = interruption.get("cost_usd_picos")
        cost = "unpriced" if picos is None else f"estimated cost {money.exact(picos)}"
        return format_html("{} · {}", cells.exact(datetime.fromisoformat(interruption["settled_at"])), cost)

    @admin.display(description="lease expires")
    def lease_expires(self, record: UsageRecord) -> SafeString | str:
        return cells.exact(record.lease_expires_at, none=cells.NONE)

    @admin.display(description="status")
    def outcome(self, record: UsageRecord) -> SafeString:
        return cells.badge(record.get_status_display(), kind=STATUS_KINDS[Status(record.status)])

    @admin.display(description="HTTP")
    def http(self, record: UsageRecord) -> str:
        return str(record.http_status or cells.NONE)

    @admin.display(description="key")
    def key(self, record: Any) -> SafeString:
        if not record.may_view_key:
            return format_html('<span title="{}">{}</span>', record.secret or "", record.api_key.name)
        url = reverse("admin:keys_apikey_change", args=[record.api_key_id])
        return format_html('<a href="{}" title="{}">{}</a>', url, record.secret or "", record.api_key.name)

    @admin.display(description="team")
    def team_name(self, record: UsageRecord) -> str:
        return _name_of(record, "team")

    @admin.display(description="owner")
    def owner_name(self, record: UsageRecord) -> str:
        return _name_of(record, "owner")

    @admin.display(description="usage source")
    def source(self, record: UsageRecord) -> str:
        return record.get_usage_source_display() or cells.NONE

    @admin.display(description="API format")
    def api(self, record: UsageRecord) -> str:
        return API_FORMATS.get(record.api_format, record.api_format)

    @admin.display(description="tags")
    def client_tags(self, record: UsageRecord) -> str:
        return ", ".join(f"{name}={value}" for name, value in (record.tags or {}).items()) or cells.NONE

    @admin.display(description="input tokens")
    def tokens_in(self, record: UsageRecord) -> str:
        return cells.count(record.input_tokens)

    @admin.display(description="cached tokens")
    def tokens_cached(self, record: UsageRecord) -> str:
        return cells.count(record.cache_read_tokens)

    @admin.display(description="output tokens")
    def tokens_out(self, record: UsageRecord) -> str:
        return cells.count(record.output_tokens)

    @admin.display(description="time to first token")
    def time_to_first_token(self, record: UsageRecord) -> str:
        return cells.milliseconds(record.ttft_ms)

    @admin.display(description="latency")
    def latency(self, record: UsageRecord) -> str:
        return cells.milliseconds(record.duration_ms)

    @admin.display(description="streamed")
    def is_streamed(self, record: UsageRecord) -> str:
        """Return a word: the icon of a boolean would mark a plain request as wrong."""
        return "Yes" if record.streamed else "No"

    @admin.display(description="reason")
    def reason(self, record: UsageRecord) -> str:
        return failure_reasons.label(record.error_reason) or cells.NONE

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ExplorerChangeList]:
        return ExplorerChangeList

    def get_list_display(self, request: HttpRequest) -> Any:
        return [columns.FIRST, *columns.chosen(request)]

    def get_list_select_related(self, request: HttpRequest) -> list[str]:
        """Join what the chosen columns name, and the price, which says that a request was free."""
        joined = {"key": ("api_key", "secret"), "cost": ("price",), "team_name": ("team",), "owner_name": ("owner",)}
        return [name for column in columns.chosen(request) for name in joined.get(column, ())] or ["price"]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show the explorer. Redirect to the canonical URL, and remember the columns that were chosen in it."""
        query = canonical(request.GET)
        if query is not None:
            return HttpResponseRedirect(f"{request.path}?{query}")
        context = {"title": "Usage records", "form": FilterForm(request), **(extra_context or {})}
        response = super().changelist_view(request, context)
        chosen = request.GET.get(columns.PARAMETER)
        if chosen == columns.DEFAULT_NAME:
            response.delete_cookie(columns.COOKIE, path=request.path)
        elif chosen and columns.parse(chosen):
            response.set_cookie(
                columns.COOKIE,
                columns.text_of(columns.parse(chosen)),
                max_age=columns.COOKIE_AGE_S,
                path=request.path,
                secure=settings.SESSION_COOKIE_SECURE,
                httponly=True,
                samesite="Lax",
            )
        return response

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        return super().change_view(request, object_id, form_url, {"title": "Request", **(extra_context or {})})

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        record = context["original"]
        context |= {
            "attempts": attempts(record),
            "cost_breakdown": cost_breakdown(record),
            "curl": request_as_curl(
                origin=f"{request.scheme}://{request.get_host()}",
                api_format=record.api_format,
                model=record.model,
                streamed=record.streamed,
            ),
            "limits": request_limits(record),
            "timeline": timeline(record),
        }
        return super().render_change_form(request, context, *args, **kwargs)

    def get_fieldsets(self, request: HttpRequest, obj: UsageRecord | None = None) -> Any:
        """Add the optional fields that have a value, and an interruption before."""
        (name, options), *others = super().get_fieldsets(request, obj)
        if obj:
            others = [_with_optional(title, section, obj) for title, section in others]
        added = ["interrupted_before"] if obj and obj.interruption and obj.status != Status.INTERRUPTED else []
        return [(name, {**options, "fields": [*options["fields"], *added]}), *others]

    def get_queryset(self, request: HttpRequest) -> QuerySet[UsageRecord]:
        """Annotate whether the user may view keys and prices, which decides whether their names are links."""

        def may(permission: str) -> Value:
            return Value(request.user.has_perm(permission), output_field=BooleanField())

        queryset = super().get_queryset(request)
        return queryset.annotate(may_view_key=may("keys.view_apikey"), may_view_price=may("keys.view_modelprice"))


def _with_optional(title: Any, section: Any, record: UsageRecord) -> Any:
    return title, {**section, "fields": [*section["fields"], *with_values(str(title), record)]}


def _name_of(record: UsageRecord, relation: str) -> str:
    """Return the name of a record's team or owner. Both may be deleted since."""
    id = getattr(record, f"{relation}_id")
    if id is None:
        return cells.NONE
    try:
        found = getattr(record, relation)
    except ObjectDoesNotExist:
        found = None
    return str(found) if found else f"Deleted {relation} {id}"
