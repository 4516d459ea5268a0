"""The fields of a usage record's page about what was served and its cost. Only those that have a value are shown."""

import json
from typing import Any

from django.contrib import admin
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from keys.domain import factors
from keys.models import UsageRecord
from keys.pricing import reasons
from lib import money
from lib.admin import cells

SERVED = ("served_model", "speed", "service_tier", "inference_geo", "region")
"""What was served, where it differs from the price itself."""
OPTIONAL = {
    "Upstream": (*SERVED, "refusal"),
    "Tokens": ("audio_input_tokens", "audio_output_tokens", "web_searches", "usage_as_reported"),
    "Cost": ("unpriced_because", "negotiated_factor", "upstream_cost"),
}
"""Fields by section."""
COLUMNS = {
    "refusal": "refusal_category",
    "usage_as_reported": "usage_object",
    "unpriced_because": "unpriced_reason",
    "negotiated_factor": "price_factor",
    "upstream_cost": "vendor_cost_usd_picos",
}


def with_values(section: str, record: UsageRecord) -> list[str]:
    """Return the optional fields of a section that the record has a value of."""
    return [name for name in OPTIONAL.get(section, ()) if getattr(record, COLUMNS.get(name, name)) not in (None, "")]


class CostFields:
    """Mixin for the ModelAdmin of usage records."""

    @admin.display(description="cost")
    def cost(self, record: UsageRecord) -> SafeString | str:
        picos = record.cost_usd_picos
        if (text := _text_without_cost(record)) or picos is None:
            return text
        return format_html('<span title="{}">{}</span>', money.exact(picos), money.short(picos))

    @admin.display(description="amount")
    def amount(self, record: UsageRecord) -> str:
        return _text_without_cost(record) or money.exact(record.cost_usd_picos or 0)

    @admin.display(description="unpriced because")
    def unpriced_because(self, record: UsageRecord) -> str:
        return reasons.UNPRICED.get(record.unpriced_reason, "the reason is unknown")

    @admin.display(description="price")
    def price_row(self, record: Any) -> SafeString | str:
        if record.price is None or not record.may_view_price:
            return str(record.price or cells.NONE)
        return format_html(
            '<a href="{}">{}</a>', reverse("admin:keys_modelprice_change", args=[record.price_id]), record.price
        )

    @admin.display(description="negotiated factor")
    def negotiated_factor(self, record: UsageRecord) -> str:
        return cells.NONE if record.price_factor is None else factors.text(factors.from_decimal(record.price_factor))

    @admin.display(description="reported by the upstream")
    def upstream_cost(self, record: UsageRecord) -> str:
        return money.exact(record.vendor_cost_usd_picos or 0)

    @admin.display(description="refusal")
    def refusal(self, record: UsageRecord) -> str:
        when = "before any output" if record.refused_before_output else "after output began"
        return f"{record.refusal_category.replace('_', ' ')}, {when}"

    @admin.display(description="usage as reported")
    def usage_as_reported(self, record: UsageRecord) -> SafeString:
        text = json.dumps(record.usage_object, indent=2, ensure_ascii=False)
        # It may be wider than the page: the keyboard scrolls what has the focus.
        return format_html('<pre class="wide" role="region" aria-label="Usage" tabindex="0">{}</pre>', text)


def _text_without_cost(record: UsageRecord) -> str:
    """Return the text that replaces a missing cost; empty if the request has a cost."""
    if record.settled_at is None or record.status == UsageRecord.Status.REJECTED:
        return cells.NONE
    if record.cost_usd_picos is None:
        return "unpriced"
    return "free" if record.price is not None and record.price.is_free and not record.cost_usd_picos else ""
