"""Latest errors of all API keys."""

from keys.models import UsageRecord
from keys.models.usage import IS_ERROR

SHOWN = 8
MOST = 5_000
"""Number of latest requests that are searched: where errors are rare, a page must not read all requests."""


def recent_errors() -> list[UsageRecord]:
    """Return the errors among the latest requests, newest first. Two queries."""
    latest = UsageRecord.objects.order_by("-created_at")
    beyond = list(latest.values_list("created_at", flat=True)[MOST : MOST + 1])
    errors = latest.filter(IS_ERROR).select_related("api_key").defer("attempts", "reservations")
    return list((errors.filter(created_at__gt=beyond[0]) if beyond else errors)[:SHOWN])
