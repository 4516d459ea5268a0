"""Who is being refused, and why: calls that a limit, a budget or a rule refused, or would have in shadow mode."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Max
from django.db.models.fields.json import KT
from django.utils import timezone

from keys.domain.amounts import PERIOD_LABELS, format_amount
from keys.domain.limits import LIMIT_LABELS
from keys.models import APIKey, UsageRecord

SPAN = timedelta(days=7)
MOST = 5_000
"""So many of the latest are looked at: a caller who is refused all the time must not make a page slow."""


@dataclass(kw_only=True, slots=True)
class Rejection:
    """What one rule refused."""

    words: str
    rejected: int = 0
    would_have: int = 0
    """In shadow mode: noted, and let in."""
    last_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejections:
    rows: list[Rejection]
    """The most frequent first."""
    is_cut: bool
    """Whether there were more than were looked at."""
    most: int = MOST


def refusals(api_key: APIKey) -> Rejections:
    """By rule, what was refused in the last seven days. Two queries, of `MOST` rows at most."""
    found = UsageRecord.objects.filter(
        api_key=api_key, limit_exceeded__isnull=False, created_at__gt=timezone.now() - SPAN
    ).order_by("-created_at")
    beyond = list(found.values_list("created_at", flat=True)[MOST : MOST + 1])
    rows: dict[str, Rejection] = {}
    for hit in _counted(found.filter(created_at__gt=beyond[0]) if beyond else found):
        words = in_words(hit)
        row = rows.setdefault(words, Rejection(words=words, last_at=hit["last_at"]))
        row.last_at = max(row.last_at, hit["last_at"])
        if hit["status"] == UsageRecord.Status.REJECTED:
            row.rejected += hit["made"]
        else:
            row.would_have += hit["made"]
    ordered = sorted(rows.values(), key=lambda row: row.rejected + row.would_have, reverse=True)
    return Rejections(rows=ordered, is_cut=bool(beyond))


def _counted(found: Any) -> Any:
    """A row for each rule and outcome."""
    parts = {name: KT(f"limit_exceeded__{name}") for name in ("scope", "limit", "value")}
    grouped = found.annotate(**parts).values(*parts, "status")
    return grouped.annotate(made=Count("pk"), last_at=Max("created_at")).order_by()


def in_words(hit: Any) -> str:
    """The rule that a usage record's `limit_exceeded` names."""
    whose = {"key": "of this key", "team": "of its team"}.get(hit.get("scope") or "", "")
    limit, value = hit.get("limit") or "", _number(hit.get("value"))
    if limit in LIMIT_LABELS:
        return f"{value:,} {LIMIT_LABELS[limit]} {whose}" if value is not None else f"{LIMIT_LABELS[limit]} {whose}"
    if limit.startswith("budget_"):
        return _budget(limit, value, whose)
    return {
        "models": f"The model is not on the list {whose}",
        "addresses": f"The address is not on the list {whose}",
        "price": "The model has no price, and the key a budget in money",
    }.get(limit, limit or "unknown")


def _budget(limit: str, value: int | None, whose: str) -> str:
    _, period, unit = [*limit.split("_"), "", ""][:3]
    amount = format_amount(value, unit) if value is not None else "The budget"
    return f"{amount} {PERIOD_LABELS.get(period, period)} {whose}"


def _number(value: Any) -> int | None:
    """PostgreSQL takes texts out of JSON, SQLite numbers."""
    return int(value) if str(value).isdigit() else None
