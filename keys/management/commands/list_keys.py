"""Command that lists API keys as a table or as JSON."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from keys.domain.amounts import to_input
from keys.domain.limits import LIMITS
from keys.models import APIKey, KeyState
from lib.expiry import has_expired
from lib.printable import printable

COLUMNS = ["ID", "STATE", "NAME", "OWNER", "KEY", "EXPIRES", "LAST USED"]


class Command(BaseCommand):
    help = (
        "List API keys with their public IDs and hints, never the raw keys. Examples: manage.py list_keys --state "
        "active; manage.py list_keys --json | jq -r '.[] | select(.expires_at == null) | .id'"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--state", choices=KeyState.values, help="list only keys in this state")
        parser.add_argument("--json", action="store_true", help="write a JSON list")

    def handle(self, *, state: str | None, json: bool, **options: Any) -> None:
        keys = APIKey.objects.with_last_use().select_related("owner", "team").prefetch_related("secrets", "budgets")
        newest_first = keys.order_by("-created_at", "-pk")
        found = newest_first.in_state(KeyState(state)) if state else newest_first
        self.stdout.write(_as_json(found) if json else _as_table(found))


def _as_json(keys: Sequence[Any]) -> str:
    return json.dumps([_object(api_key) for api_key in keys], indent=2, ensure_ascii=False)


def _object(api_key: Any) -> dict[str, Any]:
    return {
        "id": api_key.public_id,
        "name": api_key.name,
        "purpose": api_key.purpose,
        "state": api_key.state,
        "team": api_key.team.name if api_key.team else None,
        "owner": api_key.owner.get_username() if api_key.owner else None,
        "hints": [str(secret) for secret in api_key.secrets.all()],
        "allowed_models": api_key.allowed_models,
        "allowed_ips": api_key.allowed_ips,
        **{limit: getattr(api_key, limit) for limit in LIMITS},
        "shadow_mode": api_key.shadow_mode,
        "budgets": [
            {"amount": to_input(budget.amount, unit=budget.unit), "unit": budget.unit, "period": budget.period}
            for budget in api_key.budgets.all()
        ],
        "metadata": api_key.metadata,
        "created_at": _moment(api_key.created_at),
        "expires_at": _moment(api_key.expires_at),
        "last_used_at": _moment(api_key.last_used_at),
        "revoked_at": _moment(api_key.revoked_at),
    }


def _moment(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _as_table(keys: Sequence[Any]) -> str:
    rows = [COLUMNS, *map(_row, keys)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _row(api_key: Any) -> list[str]:
    now = timezone.now()
    live = [str(secret) for secret in api_key.secrets.all() if not has_expired(secret.expires_at, now=now)]
    owner = f"team {api_key.team.name}" if api_key.team else api_key.owner_name
    cells = [api_key.public_id, api_key.state, api_key.name, owner, " ".join(live)]
    return [*map(printable, cells), _day(api_key.expires_at), _day(api_key.last_used_at)]


def _day(moment: datetime | None) -> str:
    return f"{timezone.localtime(moment):%Y-%m-%d %H:%M}" if moment else "never"
