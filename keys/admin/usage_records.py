"""ModelAdmin of usage records: read-only for superusers too, since only the ledger writes them."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import BooleanField, Q, QuerySet, Value
from django.db.models.fields.json import KeyTextTransform
from django.db.models.lookups import Exact
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from keys.admin.cost_fields import CostFields, with_values
from keys.domain.limits import LimitExceeded
from keys.models import APIKey, UsageRecord
from keys.pricing.breakdown import cost_breakdown
from keys.reports import rejections
from lib import failure_reasons, money
from lib.admin import cells
from lib.admin.filters import TextFilter, TimeFilter
from lib.admin.keyset_list import KeysetModelAdmin
from lib.model_patterns import WILDCARD, is_prefix

Status = UsageRecord.Status

API_FORMATS = {"envelope": "Envelope API", "anthropic": "Anthropic API"}
ATTEMPT_LABELS = {
    "status": "HTTP status",
    "ms": "latency in ms",
    "error": "error type",
    "request_id": "upstream request ID",
    "input_tokens": "input tokens",
    "output_tokens": "output tokens",
    "cache_read_tokens": "cache read tokens",
    "cache_write_tokens": "cache write tokens",
    "usage_source": "usage source",
}
STATUS_KINDS = {
    Status.STARTED: "quiet",
    Status.COMPLETED: "good",
    Status.FAILED: "bad",
    Status.CLIENT_CLOSED: "warn",
    Status.CLIENT_STALLED: "warn",
    Status.INTERRUPTED: "bad",
    Status.REJECTED: "warn",
}


class KeyFilter(TextFilter):
    """The requests of one key, by its ID: keys are too many to list."""

    title = "key"
    parameter_name = "api_key__public_id"
    placeholder = "key_…"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.value():
            return queryset
        # A lookup of the primary key first: the query then reads the index of key and time instead of a join.
        api_key_id = APIKey.objects.filter(public_id=self.value()).values_list("pk", flat=True).first()
        return queryset.filter(api_key_id=api_key_id) if api_key_id else queryset.none()


class ModelFilter(TextFilter):
    title = "model"
    parameter_name = "model"
    placeholder = "claude-3-opus-… or claude-*"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        name = self.value()
        if not name:
            return queryset
        return queryset.filter(Q(model__startswith=name.removesuffix(WILDCARD)) if is_prefix(name) else Q(model=name))


@admin.register(UsageRecord)
class UsageRecordAdmin(CostFields, KeysetModelAdmin):
    """The table grows without limit: no page counts it, sorts it by another column or lists distinct values."""

    change_form_template = "admin/keys/usagerecord/change_form.html"
    change_list_template = "admin/keys/usagerecord/change_list.html"
    fieldsets = [
        ("Request", {"fields": ["id", "outcome", "http", "error_type", "reason", "stop_reason", "created", "settled"]}),
        (
            "Client",
            {
                "fields": [
                    "key",
                    "api",
                    "model",
                    "streamed",
                    "client_ip",
                    "user_agent",
                    "client_request_id",
                    "session_id",
                    "agent_id",
                    "parent_agent_id",
                    "request_class",
                    "client_tags",
                ],
                "description": "Prompts and responses are not stored.",
            },
        ),
        (
            "Upstream",
            {"fields": ["upstream", "upstream_model", "upstream_request_id", "message_id", "attempts_made"]},
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
    list_display = [
        "created",
        "outcome",
        "http",
        "model",
        "key",
        "tokens_in",
        "tokens_cached",
        "tokens_out",
        "cost",
        "time_to_first_token",
        "latency",
        "streamed",
        "id",
    ]
    list_filter = [TimeFilter, KeyFilter, ModelFilter, "status", "streamed", "usage_source"]
    list_select_related = ["api_key", "secret", "price"]
    search_fields = ["pk"]  # enables the search field; `get_search_results` does the search
    search_help_text = (
        "Request ID (req_…) at any time; message ID (msg_…), upstream request ID, client request ID, session ID, "
        "agent ID or tag (name=value) within the chosen time."
    )

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

    @admin.display(description="rejected by")
    def rejected_by(self, record: UsageRecord) -> str:
        return rejections.rule_in_words(LimitExceeded.from_json(record.limit_exceeded or {}))

    @admin.display(description="would be rejected by (shadow)")
    def shadow_rejected_by(self, record: UsageRecord) -> str:
        return rejections.rule_in_words(LimitExceeded.from_json(record.limit_exceeded or {}))

    @admin.display(description="time to first token")
    def time_to_first_token(self, record: UsageRecord) -> str:
        return cells.milliseconds(record.ttft_ms)

    @admin.display(description="latency")
    def latency(self, record: UsageRecord) -> str:
        return cells.milliseconds(record.duration_ms)

    @admin.display(description="reason")
    def reason(self, record: UsageRecord) -> str:
        return failure_reasons.label(record.error_reason) or cells.NONE

    @admin.display(description="attempts")
    def attempts_made(self, record: UsageRecord) -> SafeString | str:
        """List the attempts in the order in which the gateway made them."""
        lines = [" · ".join(_facts(attempt)) for attempt in record.attempts]
        items = format_html_join("", "<li>{}</li>", ((line,) for line in lines))
        return format_html('<ol class="attempts">{}</ol>', items) if lines else cells.NONE

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        return super().changelist_view(request, {"title": "Usage records", **(extra_context or {})})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        return super().change_view(request, object_id, form_url, {"title": "Request", **(extra_context or {})})

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        context["cost_breakdown"] = cost_breakdown(context["original"])
        return super().render_change_form(request, context, *args, **kwargs)

    def get_fieldsets(self, request: HttpRequest, obj: UsageRecord | None = None) -> Any:
        """Add the rule that rejected the request, or would have in shadow mode, and an interruption before."""
        (name, options), *others = super().get_fieldsets(request, obj)
        if obj:
            others = [_with_optional(title, section, obj) for title, section in others]
        added = []
        if obj and obj.limit_exceeded:
            is_shadow = LimitExceeded.from_json(obj.limit_exceeded).shadow
            added.append("shadow_rejected_by" if is_shadow else "rejected_by")
        if obj and obj.interruption and obj.status != Status.INTERRUPTED:
            added.append("interrupted_before")
        return [(name, {**options, "fields": [*options["fields"], *added]}), *others]

    def get_queryset(self, request: HttpRequest) -> QuerySet[UsageRecord]:
        """Annotate whether the user may view keys and prices, which decides whether their names are links."""

        def may(permission: str) -> Value:
            return Value(request.user.has_perm(permission), output_field=BooleanField())

        queryset = super().get_queryset(request)
        return queryset.annotate(may_view_key=may("keys.view_apikey"), may_view_price=may("keys.view_modelprice"))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[UsageRecord], search_term: str
    ) -> tuple[QuerySet[UsageRecord], bool]:
        """Find an exact ID. Only the request ID has its own index, so only it is found outside the chosen time."""
        id = search_term.strip()
        if not id:
            return queryset, False
        by_request_id = self.get_queryset(request).filter(pk=id)
        if by_request_id.exists():
            return by_request_id.order_by("-created_at", "-pk"), False
        is_named = Q(message_id=id) | Q(upstream_request_id=id) | Q(client_request_id=id)
        return queryset.filter(is_named | Q(session_id=id) | Q(agent_id=id) | _has_tag(id)), False


def _with_optional(title: Any, section: Any, record: UsageRecord) -> Any:
    return title, {**section, "fields": [*section["fields"], *with_values(str(title), record)]}


def _facts(attempt: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is known of an attempt, in words."""
    for name, value in attempt.items():
        if name == "reason":
            value = failure_reasons.label(str(value))
        elif name == "usage_source" and value in UsageRecord.UsageSource:
            value = UsageRecord.UsageSource(value).label
        if value not in ("", None):
            yield f"{ATTEMPT_LABELS.get(name, name)}: {value}"


def _has_tag(text: str) -> Q:
    """Return the condition that a request has a tag, written as `name=value`."""
    name, separator, value = text.partition("=")
    return Q(Exact(KeyTextTransform(name, "tags"), value)) if separator else Q(pk__in=[])
