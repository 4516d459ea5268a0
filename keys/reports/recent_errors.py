"""The calls that failed last, whosever they were."""

from keys.models import UsageRecord
from keys.models.usage import HAS_FAILED

SHOWN = 8
MOST = 5_000
"""So many of the latest calls are looked at: where nothing ever fails, a page must not read all of them."""


def last_errors() -> list[UsageRecord]:
    """Those of the latest calls that failed, or whose worker died. Two queries."""
    latest = UsageRecord.objects.order_by("-created_at")
    beyond = list(latest.values_list("created_at", flat=True)[MOST : MOST + 1])
    failed = latest.filter(HAS_FAILED).select_related("api_key").defer("attempts", "reservations")
    return list((failed.filter(created_at__gt=beyond[0]) if beyond else failed)[:SHOWN])
