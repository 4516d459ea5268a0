"""Key info and key usage: what an API key may read about itself."""

from typing import Any

from keys.access import authorization
from keys.access.snapshots import Snapshot
from keys.reports import key_info, key_usage
from keys.reports.key_usage import BucketQuery
from messages_api.backend.protocol.model_list import LISTED_LIFECYCLES
from messages_api.routing.model_catalog import models


def describe_key(*, key: Snapshot) -> dict[str, Any]:
    """Describe the key of the request. Raise NotAuthenticated if it is no longer usable."""
    authorization.check_usable(key)
    available = [model["id"] for model in models(key=key) if model["lifecycle"] in LISTED_LIFECYCLES]
    return key_info.describe(key.key_id, secret_id=key.secret_id, available_models=available)


def usage(query: BucketQuery, *, key: Snapshot) -> dict[str, Any]:
    """Return the usage of the key in buckets. Raise NotAuthenticated if it is no longer usable."""
    authorization.check_usable(key)
    return key_usage.buckets(key.key_id, query)
