"""Template filters that render states and statuses as badges."""

from django import template
from django.utils.safestring import SafeString

from keys.admin.usage_records import STATUS_KINDS
from keys.hygiene import conditions
from keys.models import APIKey, UsageRecord
from lib.admin import cells

STATE_KINDS = {each.name: each.kind for each in conditions.STATES}

register = template.Library()


@register.filter
def badge(word: str, kind: str) -> SafeString:
    return cells.badge(word, kind=kind)


@register.filter
def state(api_key: APIKey) -> SafeString:
    return cells.badge(api_key.state.label, kind=STATE_KINDS[api_key.state])


@register.filter
def outcome(record: UsageRecord) -> SafeString:
    return cells.badge(record.get_status_display(), kind=STATUS_KINDS[UsageRecord.Status(record.status)])
