"""The two addresses where a key asks about itself: what they take, and what they answer."""

from typing import Any

from messages_api.apis.success_envelope import success_envelope
from messages_api.openapi.responses import COUNT, TEXT, TEXT_OR_NULL, Schema, always, described, exactly, list_of, ref
from messages_api.self_service.usage_query import DEFAULT_LIMIT, MAX_LIMIT

MOMENT: Schema = {"type": "string", "format": "date-time"}
MOMENT_OR_NULL: Schema = {"type": ["string", "null"], "format": "date-time"}
AMOUNT = described(TEXT, "Dollars, or tokens, in decimal digits.")
SCOPE: Schema = {"enum": ["key", "team"]}

USAGE = exactly(
    {
        "requests": described(COUNT, "Accepted requests that have finished."),
        "errors": described(COUNT, "Accepted requests that failed or were interrupted."),
        "client_errors": described(COUNT, "Errors that the client caused, such as an invalid field."),
        "rejected_requests": described(COUNT, "Requests that a limit, a budget or an allowlist rejected."),
        "input_tokens": described(COUNT, "Without those read from a cache or written to one."),
        "output_tokens": COUNT,
        "cache_read_tokens": COUNT,
        "cache_write_tokens": COUNT,
        "cost_usd": described(TEXT, "Dollars in decimal digits, of the calls whose model has a price."),
        "unpriced_requests": described(COUNT, "Calls whose cost is not known, and not in `cost_usd`."),
    }
)


def _usage(**more: Schema) -> Schema:
    return exactly({**more, **USAGE["properties"]})


LIMIT = exactly(
    {
        "scope": SCOPE,
        "limit": {"enum": ["requests_per_minute", "tokens_per_minute", "concurrent_requests"]},
        "value": COUNT,
        "remaining": COUNT,
        "resets_at": described(MOMENT_OR_NULL, "When nothing of it is used any more. Null: as calls end."),
        "shadow": described({"type": "boolean"}, "Whether the limit is in shadow mode: recorded, not enforced."),
    }
)
BUDGET = exactly(
    {
        "scope": SCOPE,
        "period": {"enum": ["day", "week", "month", "total"]},
        "unit": {"enum": ["usd", "tokens"]},
        "limit": AMOUNT,
        "spent": AMOUNT,
        "reserved": described(AMOUNT, "Held by calls that run."),
        "remaining": AMOUNT,
        "resets_at": described(MOMENT_OR_NULL, "When the period ends. Null: never."),
    }
)
KEY = exactly(
    {
        "id": TEXT,
        "name": TEXT,
        "hint": described(TEXT, "The first characters of the key that was shown."),
        "team": TEXT_OR_NULL,
        "created_at": MOMENT,
        "expires_at": MOMENT_OR_NULL,
        "last_used_at": described(MOMENT_OR_NULL, "At most five minutes old."),
        "models": exactly(
            {
                "allowed": described(list_of(TEXT), "Names, or prefixes that end in `*`. Empty: it may call none."),
                "available": described(list_of(TEXT), "Those of them that have a route of their own."),
            }
        ),
        "limits": list_of(ref("KeyLimit")),
        "budgets": list_of(ref("KeyBudget")),
        "usage": exactly(dict.fromkeys(("today", "this_week", "this_month"), _usage(since=MOMENT))),
    }
)
BUCKET = exactly({"starting_at": MOMENT, "ending_at": MOMENT, "results": list_of(_usage(model=TEXT_OR_NULL))})
USAGE_PAGE = exactly(
    {
        "data": list_of(ref("UsageBucket")),
        "has_more": {"type": "boolean"},
        "next_page": described(TEXT_OR_NULL, "The `page` of the next page."),
        "time_zone": described(TEXT, "Whose days and hours these are."),
    }
)


def _enveloped(name: str) -> Schema:
    return exactly({"success": always(True), "code": always("200"), "message": always("successful"), "data": ref(name)})


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

_A_DAY = {
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
_DAY, _NEXT = "2026-11-25T00:00:00+00:00", "2026-11-26T00:00:00+00:00"
KEY_EXAMPLE: dict[str, Any] = success_envelope(
    {
        "id": "key_4fGh7KpQ2sVx9LmN",
        "name": "search",
        "hint": "mgw_ab12cd",
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
            "today": {"since": _DAY, **_A_DAY},
            "this_week": {"since": "2026-11-23T00:00:00+00:00", **_A_DAY},
            "this_month": {"since": "2026-11-01T00:00:00+00:00", **_A_DAY},
        },
    }
)
USAGE_EXAMPLE: dict[str, Any] = success_envelope(
    {
        "data": [
            {
                "starting_at": _DAY,
                "ending_at": _NEXT,
                "results": [{"model": "claude-3-opus-20240229", **_A_DAY}],
            }
        ],
        "has_more": False,
        "next_page": None,
        "time_zone": "UTC",
    }
)

# ---- what they take


def _parameter(name: str, description: str, schema: Schema) -> Schema:
    return {"name": name, "in": "query", "description": description, "schema": schema}


_LIMITS = ", ".join(f"{DEFAULT_LIMIT[width]} (at most {MAX_LIMIT[width]}) for {width}" for width in DEFAULT_LIMIT)
USAGE_PARAMETERS = [
    _parameter("starting_at", "The bucket that this moment lies in is the first.", MOMENT),
    _parameter("ending_at", "The bucket before this moment is the last; by default the current one.", MOMENT),
    _parameter("bucket_width", "How long a bucket is.", {"enum": list(DEFAULT_LIMIT), "default": "1d"}),
    _parameter("group_by", "`model`: a result for each model.", {"enum": ["model"]}),
    _parameter(
        "limit",
        f"How many buckets a page has: {_LIMITS}.",
        {"type": "integer", "minimum": 1, "maximum": max(MAX_LIMIT.values())},
    ),
    _parameter("page", "The `next_page` of the page before.", MOMENT),
]
