"""What a key may ask about itself."""

from typing import Any

from keys.access import authorization
from keys.access.snapshots import Snapshot
from keys.reports import key_info, self_service
from messages_api.gateway.admission import models
from messages_api.self_service.usage_query import UsageQuery


def describe_key(*, key: Snapshot) -> dict[str, Any]:
    """What a key may know of itself. Raise NotAuthenticated for one that is not usable any more."""
    authorization.check_usable(key)
    return key_info.describe(key, models=models(key=key))


def usage(query: UsageQuery, *, key: Snapshot) -> dict[str, Any]:
    """What a key used, in buckets. Raise NotAuthenticated for one that is not usable any more."""
    authorization.check_usable(key)
    span = self_service.Span(
        begin=query.starting_at,
        end=query.ending_at,
        width=query.bucket_width,
        limit=query.limit,
        by_model=query.by_model,
    )
    return self_service.buckets(key.key_id, span)
