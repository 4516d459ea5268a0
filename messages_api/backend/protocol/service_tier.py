"""The service tier of a request, in the words of Chat Completions."""

from collections.abc import Mapping
from typing import Any

from messages_api.backend.protocol.profile import Profile

_TRANSLATED = {"standard_only": "default"}
"""Anthropic's names for tiers that both have."""


def service_tier_for(request: Mapping[str, Any], profile: Profile) -> str | None:
    """Return the `service_tier` to send; None where the request has none, or one that the upstream does not accept."""
    tier = request.get("service_tier")
    if not isinstance(tier, str):
        return None
    tier = _TRANSLATED.get(tier, tier)
    return tier if tier in profile.service_tiers else None
