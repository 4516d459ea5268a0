"""Parameters and responses of the API key endpoints: key info and key usage."""

from typing import Any

from lib.key_format import RAW_KEY_PREFIX
from messages_api.apis.success_envelope import success_envelope
from messages_api.openapi.json_schema import (
    COUNT,
    TEXT,
    TEXT_OR_NULL,
    Schema,
    closed_object,
    constant,
    described,
    list_of,
    ref,
)
from messages_api.self_service.usage_query import DEFAULT_LIMIT, MAX_LIMIT, TAG_GROUP

TIME: Schema = {"type": "string", "format": "date-time"}
TIME_OR_NULL: Schema = {"type": ["string", "null"], "format": "date-time"}
AMOUNT = described(TEXT, "US dollars as a decimal string with six to twelve decimals, or tokens.")
SCOPE: Schema = {"enum": ["key", "team"]}

USAGE = closed_object(
    {
        "requests": described(COUNT, "Accepted requests that have finished."),
        "errors": described(COUNT, "Accepted requests that failed or were interrupted."),
        "client_errors": described(COUNT, "Errors that the client caused, such as an invalid field."),
        "rejected_requests": described(COUNT, "Requests that a limit, a budget or an allowlist rejected."),
        "input_tokens": described(COUNT, "Excludes cache reads and cache writes."),
        "output_tokens": COUNT,
        "cache_read_tokens": COUNT,
        "cache_write_tokens": COUNT,
        "cost_usd": described(
            TEXT,
            "US dollars of requests with a price, as a decimal string with six to twelve decimals.",
        ),
        "unpriced_requests": described(COUNT, "Requests without a price. Their cost is unknown and not in `cost_usd`."),
    }
)


def _usage(**more: Schema) -> Schema:
    return closed_object({**more, **USAGE["properties"]})


LIMIT = closed_object(
    {
        "scope": SCOPE,
        "limit": {"enum": ["requests_per_minute", "tokens_per_minute", "concurrent_requests"]},
        "value": COUNT,
        "remaining": COUNT,
        "resets_at": described(TIME_OR_NULL, "When the limit is fully replenished. Null for concurrency limits."),
        "shadow": described({"type": "boolean"}, "Whether the limit is in shadow mode: recorded, not enforced."),
    }
)
BUDGET = closed_object(
    {
        "scope": SCOPE,
        "period": {"enum": ["day", "week", "month", "total"]},
        "unit": {"enum": ["usd", "tokens"]},
        "limit": AMOUNT,
        "spent": AMOUNT,
        "reserved": described(AMOUNT, "Reserved for in-flight requests."),
        "remaining": AMOUNT,
        "resets_at": described(TIME_OR_NULL, "End of the period. Null for budgets that never reset."),
    }
)
KEY = closed_object(
    {
        "id": TEXT,
        "name": TEXT,
        "hint": described(TEXT, "Start of the API key of the request."),
        "team": TEXT_OR_NULL,
        "created_at": TIME,
        "expires_at": TIME_OR_NULL,
        "last_used_at": described(TIME_OR_NULL, "Updated at most every five minutes."),
        "models": closed_object(
            {
                "allowed": described(list_of(TEXT), "Names, or prefixes that end in `*`. Empty: no model."),
                "available": described(list_of(TEXT), "Allowed models, as `GET /api/anthropic/v1/models` lists them."),
            }
        ),
        "limits": list_of(ref("KeyLimit")),
        "budgets": list_of(ref("KeyBudget")),
        "usage": closed_object(dict.fromkeys(("today", "this_week", "this_month"), _usage(since=TIME))),
    }
)
RESULT: Schema = {"anyOf": [_usage(model=TEXT_OR_NULL), _usage(tag=TEXT_OR_NULL)]}
BUCKET = closed_object({"starting_at": TIME, "ending_at": TIME, "results": list_of(RESULT)})
USAGE_PAGE = closed_object(
    {
        "data": list_of(ref("UsageBucket")),
        "has_more": {"type": "boolean"},
        "next_page": described(TEXT_OR_NULL, "Value of `page` for the next page."),
        "time_zone": described(TEXT, "Time zone of the buckets."),
    }
)


def _enveloped(name: str) -> Schema:
    return closed_object(
        {"success": constant(True), "code": constant("200"), "message": constant("successful"), "data": ref(name)}
    )


SCHEMAS: dict[str, Schema] = {
    "Key": KEY,
    "KeyLimit": LIMIT,
    "KeyBudget": BUDGET,
    "KeyEnvelope": _enveloped("Key"),
    "UsageBucket": BUCKET,
    "UsagePage": USAGE_PAGE,
    "UsageEnvelope": _enveloped("UsagePage"),
}

# ---- examples

_USAGE_OF_DAY = {
    "requests": 12,
    "errors": 1,
    "client_errors": 0,
    "rejected_requests": 1,
    "input_tokens": 10_480,
    "output_tokens": 3_912,
    "cache_read_tokens": 0,
    "cache_write_tokens": 0,
    "cost_usd": "0.090120",
    "unpriced_requests": 0,
}
_DAY, _NEXT_DAY = "2026-11-25T00:00:00+00:00", "2026-11-26T00:00:00+00:00"
KEY_EXAMPLE: dict[str, Any] = success_envelope(
    {
        "id": "key_4fGh7KpQ2sVx9LmN",
        "name": "search",
        "hint": f"{RAW_KEY_PREFIX}ab12cd",
        "team": "Research",
        "created_at": "2026-11-01T09:30:00+00:00",
        "expires_at": "2027-01-30T09:30:00+00:00",
        "last_used_at": "2026-11-25T14:02:11+00:00",
        "models": {"allowed": ["claude-*"], "available": ["claude-3-opus-20240229"]},
        "limits": [
            {
                "scope": "key",
                "limit": "requests_per_minute",
                "value": 60,
                "remaining": 58,
                "resets_at": "2026-11-25T14:02:13+00:00",
                "shadow": False,
            }
        ],
        "budgets": [
            {
                "scope": "key",
                "period": "month",
                "unit": "usd",
                "limit": "25.000000",
                "spent": "3.120480",
                "reserved": "0.000000",
                "remaining": "21.879520",
                "resets_at": "2026-12-01T00:00:00+00:00",
            }
        ],
        "usage": {
            "today": {"since": _DAY, **_USAGE_OF_DAY},
            "this_week": {"since": "2026-11-23T00:00:00+00:00", **_USAGE_OF_DAY},
            "this_month": {"since": "2026-11-01T00:00:00+00:00", **_USAGE_OF_DAY},
        },
    }
)
USAGE_EXAMPLE: dict[str, Any] = success_envelope(
    {
        "data": [
            {
                "starting_at": _DAY,
                "ending_at": _NEXT_DAY,
                "results": [{"model": "claude-3-opus-20240229", **_USAGE_OF_DAY}],
            }
        ],
        "has_more": False,
        "next_page": None,
        "time_zone": "UTC",
    }
)

# ---- parameters


def _parameter(name: str, description: str, schema: Schema) -> Schema:
    return {"name": name, "in": "query", "description": description, "schema": schema}


_LIMITS = ", ".join(f"{DEFAULT_LIMIT[width]} (at most {MAX_LIMIT[width]}) for {width}" for width in DEFAULT_LIMIT)
USAGE_PARAMETERS = [
    _parameter("starting_at", "Time in the first bucket.", TIME),
    _parameter("ending_at", "End of the range, exclusive. Default: now.", TIME),
    _parameter("bucket_width", "Width of a bucket.", {"enum": list(DEFAULT_LIMIT), "default": "1d"}),
    _parameter(
        "group_by",
        "`model`: one result per model; unknown models have an empty name. `tag:name`: one result per value of that "
        "tag, with `tag` instead of `model`, in buckets of 1m or 1h of a day.",
        {"type": "string", "pattern": f"^(model|{TAG_GROUP.pattern})?$"},
    ),
    _parameter(
        "limit",
        f"Buckets per page: {_LIMITS}.",
        {"type": "integer", "minimum": 1, "maximum": max(MAX_LIMIT.values())},
    ),
    _parameter("page", "`next_page` of the previous page.", TIME),
]
