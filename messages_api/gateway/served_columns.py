"""Columns of the usage record that state what was served: of the response, else of the request as it was sent."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from messages_api.backend.attempt import Attempt
from messages_api.backend.endpoint import Endpoint
from messages_api.backend.protocol.served import FACTS, fact_of
from messages_api.backend.protocol.service_tier import service_tier_for
from messages_api.backend.protocol.token_estimate import ONE_HOUR
from messages_api.backend.protocol.usage import Usage

_ASKED = {"auto": "", "standard_only": "standard"}
"""Service tiers of requests by what is asked for: `auto` leaves it to the upstream."""


def asked_columns(request: Mapping[str, Any], endpoint: Endpoint) -> dict[str, Any]:
    """Return the facts that a request asks an upstream for: what is sent to it, and the region of its base URL."""
    asked = dict.fromkeys(FACTS, "")
    if endpoint.dialect == "anthropic":
        asked = {name: fact_of(request.get(name)) for name in FACTS}
    else:
        asked["service_tier"] = service_tier_for(request, endpoint.profile) or ""
    asked["service_tier"] = _ASKED.get(asked["service_tier"], asked["service_tier"])
    return {**asked, "region": endpoint.profile.region}


def with_asked_lifetime(counts: Usage, attempt: Attempt, *, cache_ttl: str) -> Usage:
    """Return counts whose cache writes have the lifetime that was asked for, if the response states none.

    `cache_ttl` is the longest lifetime of the request.
    """
    endpoint = attempt.target.endpoint
    is_asked = endpoint.dialect == "anthropic" or endpoint.profile.cache_control
    if cache_ttl == ONE_HOUR and is_asked and counts.cache_write and counts.cache_write_1h is None:
        return replace(counts, cache_write_1h=counts.cache_write)
    return counts


def served_columns(attempt: Attempt, usage: Usage) -> dict[str, Any]:
    """Return the columns of a request that an attempt served. `usage` has the counts of the response."""
    served = attempt.served
    columns: dict[str, Any] = asked_columns(attempt.request, attempt.target.endpoint)
    columns |= {name: fact for name in FACTS if (fact := served.fact(name))}
    return columns | {
        "served_model": served.model or attempt.target.model,
        "refusal_category": served.refusal_category,
        "refused_before_output": served.refused_before_output,
        "iterations": served.iterations_of(usage),
        "usage_object": served.usage_object,
        "audio_input_tokens": usage.audio_input,
        "audio_output_tokens": usage.audio_output,
        "web_searches": usage.web_searches,
        "vendor_cost_usd_picos": served.vendor_cost_picos,
    }
