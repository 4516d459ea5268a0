"""The calls, to look at. Nobody changes them here, superusers neither: the ledger is their only writer."""

from typing import Any

from django.contrib import admin
from django.db.models import BooleanField, Q, QuerySet, Value
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from keys.admin.filters import KeyFilter, ModelFilter
from keys.domain.limits import LimitExceeded
from keys.models import UsageRecord
from keys.pricing.breakdown import cost_breakdown
from keys.reports import rejections
from lib import money
from lib.admin import cells
from lib.admin.filters import TimeFilter
from lib.admin.keyset_list import KeysetModelAdmin

Status = UsageRecord.Status

OUTCOMES = {
    Status.STARTED: "quiet",
    Status.COMPLETED: "good",
    Status.FAILED: "bad",
    Status.CLIENT_CLOSED: "warn",
    Status.CLIENT_STALLED: "warn",
    Status.INTERRUPTED: "bad",
    Status.REJECTED: "warn",
}


@admin.register(UsageRecord)
class UsageRecordAdmin(KeysetModelAdmin):
    """A table that grows for ever: nothing here counts it, sorts it otherwise, or lists the values of a column."""

    change_form_template = "admin/keys/usagerecord/change_form.html"
    change_list_template = "admin/keys/usagerecord/change_list.html"
    fieldsets = [
        ("Call", {"fields": ["id", "outcome", "http", "error_type", "stop_reason", "created", "settled"]}),
        (
            "Caller",
            {
                "fields": ["key", "api_format", "model", "streamed", "client_ip", "user_agent", "client_request_id"],
                "description": "Prompts and answers are not stored.",
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
                "description": "A dash: nobody said. Thinking is part of the output.",
            },
        ),
        (
            "Cost",
            {
                "fields": ["amount", "price_row"],
                "description": "By the price that stood when the call began. Unpriced: there was none.",
            },
        ),
        ("Time", {"fields": ["first_token_after", "total_time", "lease_ends", "boot_id"]}),
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
        "first_token_after",
        "total_time",
        "streamed",
        "id",
    ]
    list_filter = [TimeFilter, KeyFilter, ModelFilter, "status", "streamed", "usage_source"]
    list_select_related = ["api_key", "secret", "price"]
    search_fields = ["pk"]  # shows the field; `get_search_results` is what searches
    search_help_text = (
        "Jump to a call by its request id (req_…). A message id (msg_…), the upstream's id or the caller's own id "
        "is found within the chosen time."
    )

    @admin.display(description="time")
    def created(self, record: UsageRecord) -> SafeString | str:
        return cells.exact(record.created_at)

    @admin.display(description="settled")
    def settled(self, record: UsageRecord) -> SafeString | str:
        return cells.exact(record.settled_at, none="not yet")

    @admin.display(description="lease ends")
    def lease_ends(self, record: UsageRecord) -> SafeString | str:
        return cells.exact(record.lease_expires_at)

    @admin.display(description="outcome")
    def outcome(self, record: UsageRecord) -> SafeString:
        return cells.badge(record.get_status_display(), kind=OUTCOMES[Status(record.status)])

    @admin.display(description="HTTP")
    def http(self, record: UsageRecord) -> str:
        return str(record.http_status or cells.NONE)

    @admin.display(description="key")
    def key(self, record: Any) -> SafeString:
        if not record.leads_to_key:
            return format_html('<span title="{}">{}</span>', record.secret or "", record.api_key.name)
        address = reverse("admin:keys_apikey_change", args=[record.api_key_id])
        return format_html('<a href="{}" title="{}">{}</a>', address, record.secret or "", record.api_key.name)

    @admin.display(description="input")
    def tokens_in(self, record: UsageRecord) -> str:
        return cells.count(record.input_tokens)

    @admin.display(description="cached")
    def tokens_cached(self, record: UsageRecord) -> str:
        return cells.count(record.cache_read_tokens)

    @admin.display(description="output")
    def tokens_out(self, record: UsageRecord) -> str:
        return cells.count(record.output_tokens)

    @admin.display(description="cost")
    def cost(self, record: UsageRecord) -> SafeString | str:
        micros = record.cost_usd_micros
        if (words := _no_amount(record)) or micros is None:
            return words
        return format_html('<span title="{}">{}</span>', money.dollars(micros), money.short(micros))

    @admin.display(description="amount")
    def amount(self, record: UsageRecord) -> str:
        return _no_amount(record) or money.dollars(record.cost_usd_micros or 0)

    @admin.display(description="price")
    def price_row(self, record: Any) -> SafeString | str:
        if record.price is None or not record.leads_to_price:
            return str(record.price or cells.NONE)
        return format_html(
            '<a href="{}">{}</a>', reverse("admin:keys_modelprice_change", args=[record.price_id]), record.price
        )

    @admin.display(description="refused by")
    def refused_by(self, record: UsageRecord) -> str:
        return rejections.rule_in_words(LimitExceeded.from_json(record.limit_exceeded or {}))

    @admin.display(description="would be refused by")
    def would_be_refused_by(self, record: UsageRecord) -> str:
        """By a limit that only counts."""
        return rejections.rule_in_words(LimitExceeded.from_json(record.limit_exceeded or {}))

    @admin.display(description="first token")
    def first_token_after(self, record: UsageRecord) -> str:
        return cells.milliseconds(record.ttft_ms)

    @admin.display(description="total time")
    def total_time(self, record: UsageRecord) -> str:
        return cells.milliseconds(record.duration_ms)

    @admin.display(description="attempts")
    def attempts_made(self, record: UsageRecord) -> SafeString | str:
        """Each try at a target, as the gateway noted it."""
        lines = [" · ".join(f"{name}: {value}" for name, value in attempt.items()) for attempt in record.attempts]
        items = format_html_join("", "<li>{}</li>", ((line,) for line in lines))
        return format_html('<ol class="attempts">{}</ol>', items) if lines else cells.NONE

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        return super().changelist_view(request, {"title": "Usage records", **(extra_context or {})})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        return super().change_view(request, object_id, form_url, {"title": "Call", **(extra_context or {})})

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        context["arithmetic"] = cost_breakdown(context["original"])
        return super().render_change_form(request, context, *args, **kwargs)

    def get_fieldsets(self, request: HttpRequest, obj: UsageRecord | None = None) -> Any:
        """With what refused the call, or would have, where that is known."""
        (name, options), *others = super().get_fieldsets(request, obj)
        if not obj or not obj.limit_exceeded:
            return [(name, options), *others]
        line = "would_be_refused_by" if LimitExceeded.from_json(obj.limit_exceeded).shadow else "refused_by"
        return [(name, {**options, "fields": [*options["fields"], line]}), *others]

    def get_queryset(self, request: HttpRequest) -> QuerySet[UsageRecord]:
        """With whether the pages of a key and of a price are open to whoever reads this."""

        def may(permission: str) -> Value:
            return Value(request.user.has_perm(permission), output_field=BooleanField())

        queryset = super().get_queryset(request)
        return queryset.annotate(leads_to_key=may("keys.view_apikey"), leads_to_price=may("keys.view_modelprice"))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[UsageRecord], search_term: str
    ) -> tuple[QuerySet[UsageRecord], bool]:
        """An exact id. Only the request id has an index of its own, so only it is looked for at any time."""
        id = search_term.strip()
        if not id:
            return queryset, False
        by_request_id = self.get_queryset(request).filter(pk=id)
        if by_request_id.exists():
            return by_request_id.order_by("-created_at", "-pk"), False
        return queryset.filter(Q(message_id=id) | Q(upstream_request_id=id) | Q(client_request_id=id)), False


def _no_amount(record: UsageRecord) -> str:
    """What is said in the place of an amount; empty where there is one."""
    if record.settled_at is None or record.status == Status.REJECTED:
        return cells.NONE
    if record.cost_usd_micros is None:
        return "unpriced"
    return "free" if record.price is not None and record.price.is_free else ""
