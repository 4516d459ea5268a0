"""States and outcomes as marked words."""

from django import template
from django.utils.safestring import SafeString

from keys.admin import cells
from keys.admin.usage import OUTCOMES
from keys.models import APIKey, UsageRecord

STATES = {"active": "good", "expired": "warn", "disabled": "warn"}
"""How they are marked; the others end a key's calls for longer."""

register = template.Library()


@register.filter
def badge(word: str, kind: str) -> SafeString:
    return cells.badge(word, kind=kind)


@register.filter
def state(api_key: APIKey) -> SafeString:
    return cells.badge(api_key.state, kind=STATES.get(api_key.state, "bad"))


@register.filter
def outcome(record: UsageRecord) -> SafeString:
    return cells.badge(record.status, kind=OUTCOMES[UsageRecord.Status(record.status)])
