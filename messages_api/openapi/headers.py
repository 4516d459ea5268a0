"""Response headers."""

from messages_api.openapi.json_schema import TEXT, Schema

NUMBER: Schema = {"type": "string", "pattern": "^[0-9]+$"}
UNIFIED = "anthropic-ratelimit-unified"
RATE_LIMIT: list[tuple[str, str, Schema]] = [
    (
        "limit",
        "Limit of {} per minute of the API key or its team, whichever is closer. Absent without a limit.",
        NUMBER,
    ),
    ("remaining", "Remaining {}.", NUMBER),
    (
        "reset",
        "Time at which the limit of {} is fully replenished. It is replenished continuously until then.",
        {"type": "string", "format": "date-time"},
    ),
]
HEADERS: dict[str, Schema] = {
    "request-id": {
        "description": "Request ID, as in the usage record and the log.",
        "required": True,
        "schema": {"type": "string", "pattern": "^req_[0-9a-f]{32}$"},
    },
    "x-gateway-target": {
        "description": "Upstream and its model that served the request. "
        "Absent on a stream that started with a ping, before the target was known.",
        "schema": TEXT,
    },
    "x-gateway-upstream-request-id": {
        "description": "Request ID of the upstream, also on errors of the upstream. Absent if it sent none.",
        "schema": TEXT,
    },
    "x-gateway-dropped": {
        "description": "Request fields that were dropped because the upstream does not support them.",
        "schema": TEXT,
    },
    **{
        f"anthropic-ratelimit-{kind}-{name}": {"description": text.format(kind), "schema": schema}
        for kind in ("requests", "tokens")
        for name, text, schema in RATE_LIMIT
    },
    f"{UNIFIED}-status": {
        "description": "`allowed`, `allowed_warning` from 75 % of a budget on, or `rejected`. Absent without a budget.",
        "schema": {"enum": ["allowed", "allowed_warning", "rejected"]},
    },
    f"{UNIFIED}-overage-utilization": {
        "description": "Share of the fullest budget of the API key or its team that was spent when the request was "
        "admitted, without the requests in flight.",
        "schema": {"type": "string", "pattern": r"^[01]\.\d\d$"},
    },
    f"{UNIFIED}-overage-surpassed-threshold": {
        "description": "`0.75` or `0.95`, from that share on.",
        "schema": {"enum": ["0.75", "0.95"]},
    },
    f"{UNIFIED}-reset": {"description": "Time at which the budget resets, in Unix seconds.", "schema": NUMBER},
    "retry-after": {"description": "Seconds to wait before a retry, if known.", "schema": TEXT},
    "x-should-retry": {"description": "`false` if a retry cannot succeed.", "schema": TEXT},
    "WWW-Authenticate": {"description": "`Bearer`", "schema": TEXT},
    "Allow": {"description": "Allowed methods.", "required": True, "schema": TEXT},
}
RATE_LIMIT_HEADERS = tuple(name for name in HEADERS if name.startswith("anthropic-ratelimit-"))


def headers(*names: str) -> dict[str, Schema]:
    """Return references to the request ID header and the named ones."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in ("request-id", *names)}
