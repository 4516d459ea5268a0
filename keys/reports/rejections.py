"""Rejections of one API key by rule: limits, budgets and allowlists that rejected requests, or would in shadow mode."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Max
from django.db.models.fields.json import KT
from django.utils import timezone

from keys.domain.amounts import PERIOD_LABELS, format_amount
from keys.domain.limits import ALLOWED_IPS, ALLOWED_MODELS, BUDGET, LIMIT_LABELS, PRICE, LimitExceeded
from keys.models import APIKey, UsageRecord

PERIOD = timedelta(days=7)
MOST = 5_000
"""Number of latest rejections that are counted: a client that is always rejected must not slow the page down."""


@dataclass(kw_only=True, slots=True)
class RuleRejections:
    """Requests that one rule rejected."""

    rule: str
    rejected: int = 0
    shadow: int = 0
    """Requests that the rule would have rejected, but did not in shadow mode."""
    last_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejections:
    """Rejections of a key in the last seven days."""

    rows: list[RuleRejections]
    """The most frequent first."""
    is_cut: bool
    """Whether there were more than `most`."""
    most: int = MOST


def rejections(api_key: APIKey) -> Rejections:
    """Count rejections by rule. Two queries, of `MOST` rows at most."""
    found = UsageRecord.objects.filter(
        api_key=api_key, limit_exceeded__isnull=False, created_at__gt=timezone.now() - PERIOD
    ).order_by("-created_at")
    beyond = list(found.values_list("created_at", flat=True)[MOST : MOST + 1])
    rows: dict[str, RuleRejections] = {}
    for group in _counted(found.filter(created_at__gt=beyond[0]) if beyond else found):
        rule = rule_in_words(_limit(group))
        row = rows.setdefault(rule, RuleRejections(rule=rule, last_at=group["last_at"]))
        row.last_at = max(row.last_at, group["last_at"])
        if group["status"] == UsageRecord.Status.REJECTED:
            row.rejected += group["count"]
        else:
            row.shadow += group["count"]
    ordered = sorted(rows.values(), key=lambda row: row.rejected + row.shadow, reverse=True)
    return Rejections(rows=ordered, is_cut=bool(beyond))


def _counted(found: Any) -> Any:
    """Group by rule and outcome."""
    parts = {name: KT(f"limit_exceeded__{name}") for name in ("scope", "limit", "value", "period", "unit")}
    grouped = found.annotate(**parts).values(*parts, "status")
    return grouped.annotate(count=Count("pk"), last_at=Max("created_at")).order_by()


def rule_in_words(exceeded: LimitExceeded) -> str:
    """Describe the rule that a usage record's `limit_exceeded` names."""
    limit, value = exceeded.limit, exceeded.value
    owner = {"key": "of this key", "team": "of its team"}.get(exceeded.scope, "")
    if limit in LIMIT_LABELS:
        return f"{value:,} {LIMIT_LABELS[limit]} {owner}" if value is not None else f"{LIMIT_LABELS[limit]} {owner}"
    if limit == BUDGET:
        period, unit = exceeded.period or "", exceeded.unit or ""
        amount = format_amount(value, unit) if value is not None else "The budget"
        return f"{amount} {PERIOD_LABELS.get(period, period)} {owner}"
    return {
        ALLOWED_MODELS: f"Allowed models {owner}",
        ALLOWED_IPS: f"IP allowlist {owner}",
        PRICE: "Cost budget and a model without a price",
    }.get(limit, limit or "unknown")


def _limit(row: dict[str, Any]) -> LimitExceeded:
    """Return the limit of a grouped row. PostgreSQL extracts texts from JSON, SQLite numbers."""
    value = int(row["value"]) if str(row["value"]).isdigit() else None
    return LimitExceeded.from_json({**row, "value": value})
