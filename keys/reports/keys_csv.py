"""Key export: one CSV line for each API key, without digests or raw keys."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from keys.models import APIKey, Budget
from keys.reports.csv_text import inert
from keys.reports.signed_csv import signed
from lib import money

HEADER = [
    "key",
    "name",
    "hints",
    "owner",
    "team",
    "purpose",
    "state",
    "created_at",
    "created_by",
    "expires_at",
    "no_expiry_reason",
    "last_used_at",
    "allowed_models",
    "requests_per_minute",
    "tokens_per_minute",
    "concurrent_requests",
    "shadow_mode",
    "budgets",
    "allowed_ips",
]
BATCH_SIZE = 500


def csv_lines(api_keys: QuerySet[APIKey]) -> Iterator[str]:
    """Yield one line for each key, read in batches."""
    rows = api_keys.select_related("owner", "team", "created_by").prefetch_related("secrets", "budgets")
    query = {"export": "keys", "at": _moment(timezone.now())}
    return signed(HEADER, map(_cells, rows.iterator(chunk_size=BATCH_SIZE)), query=query)


def _cells(api_key: Any) -> list[Any]:
    texts = {
        "key": api_key.public_id,
        "name": api_key.name,
        "hints": " ".join(str(secret) for secret in api_key.secrets.all()),
        "owner": api_key.owner.get_username() if api_key.owner else "",
        "team": api_key.team.name if api_key.team else "",
        "purpose": api_key.purpose,
        "state": api_key.state,
        "created_at": _moment(api_key.created_at),
        "created_by": api_key.created_by.get_username() if api_key.created_by else "",
        "expires_at": _moment(api_key.expires_at),
        "no_expiry_reason": api_key.no_expiry_reason,
        "last_used_at": _moment(api_key.last_used_at),
        "allowed_models": " ".join(api_key.allowed_models),
        "budgets": "; ".join(map(_budget, api_key.budgets.all())),
        "allowed_ips": " ".join(api_key.allowed_ips),
    }
    limits = {
        "requests_per_minute": api_key.requests_per_minute,
        "tokens_per_minute": api_key.tokens_per_minute,
        "concurrent_requests": api_key.concurrent_requests,
        "shadow_mode": "yes" if api_key.shadow_mode else "no",
    }
    return [inert(texts[name]) if name in texts else limits[name] for name in HEADER]


def _moment(value: datetime | None) -> str:
    return timezone.localtime(value).isoformat(timespec="seconds") if value else ""


def _budget(budget: Budget) -> str:
    amount = f"{budget.amount} tokens" if budget.unit == "tokens" else f"{money.plain(budget.amount)} USD"
    return f"{amount} {budget.get_period_display()}"
