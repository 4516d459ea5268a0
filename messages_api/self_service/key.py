"""What a key may ask about itself."""

from typing import Any

from keys.access import authorization as access
from keys.access.snapshots import Snapshot
from keys.reports import key_info as self_description
from keys.reports import self_service as own_usage
from messages_api.gateway.admission import models
from messages_api.self_service.usage_query import UsageQuery


def describe_key(*, key: Snapshot) -> dict[str, Any]:
    """What a key may know of itself. Raise NotAuthenticated for one that is not usable any more."""
    access.check_usable(key)
    return self_description.describe(key, models=models(key=key))


def usage(query: UsageQuery, *, key: Snapshot) -> dict[str, Any]:
    """What a key used, in buckets. Raise NotAuthenticated for one that is not usable any more."""
    access.check_usable(key)
    span = own_usage.Span(
        begin=query.starting_at,
        end=query.ending_at,
        width=query.bucket_width,
        limit=query.limit,
        by_model=query.by_model,
    )
    return own_usage.buckets(key.key_id, span)
