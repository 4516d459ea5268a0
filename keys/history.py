"""What was done to a key, and by whom."""

from dataclasses import dataclass, field
from datetime import datetime

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType

from keys.models import APIKey

ACTIONS = {1: "issued", 2: "changed", 3: "deleted"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One change, as people read it."""

    moment: datetime
    actor: str
    action: str
    changes: list[str] = field(default_factory=list)
    address: str | None = None


def history_of(api_key: APIKey, *, limit: int = 20) -> list[Entry]:
    """The latest changes of a key, the newest first. One query."""
    of_keys = ContentType.objects.get_for_model(APIKey)
    rows = LogEntry.objects.filter(content_type=of_keys, object_id=str(api_key.pk)).select_related("user")
    return [
        Entry(
            moment=row.action_time,
            actor=row.user.get_username(),
            action=ACTIONS[row.action_flag],
            changes=[said] if (said := row.get_change_message()) and row.action_flag == 2 else [],
        )
        for row in rows.order_by("-action_time", "-pk")[:limit]
    ]
