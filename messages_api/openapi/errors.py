"""Error responses of both APIs."""

from types import ModuleType
from typing import Any, NamedTuple

from messages_api.apis import envelope
from messages_api.openapi.headers import RATE_LIMIT_HEADERS, headers
from messages_api.openapi.json_schema import ref

JSON = "application/json"
REQUEST_ID = "req_0198f3c1a2b4c0ffee00c0ffee00c0ff"


class Error(NamedTuple):
    """An error status, with the fields of its example."""

    type: str
    description: str
    example: str
    param: str | None = None
    headers: tuple[str, ...] = ()


WAIT = ("retry-after", "x-should-retry", "x-gateway-upstream-request-id")

ERRORS = {
    400: Error("invalid_request_error", "Change the named field.", "max_tokens: required.", "max_tokens"),
    401: Error(
        "authentication_error", "Send a valid API key.", "The API key is not valid.", headers=("WWW-Authenticate",)
    ),
    402: Error(
        "billing_error",
        "Wait until the budget resets, or request a higher one.",
        "Budget exceeded: $0.01 remaining of the monthly budget of $25.00 for this API key; this request may cost up "
        "to $0.05. Resets at 2026-12-01T00:00:00+00:00.",
        headers=("x-should-retry",),
    ),
    403: Error(
        "permission_error",
        "Use a model and an IP address that the API key allows.",
        'API key is not allowed to use the requested model "claude-opus-4". Allowed models: claude-haiku-4-5.',
        "model",
    ),
    404: Error("not_found_error", "Use one of the models listed in the message.", "Model not found."),
    405: Error(
        "invalid_request_error", "Use an allowed method.", "Method not allowed. Allowed: POST.", None, ("Allow",)
    ),
    409: Error("conflict_error", "The upstream reported a conflict.", "the container is in use"),
    411: Error(
        "invalid_request_error",
        "Send a Content-Length header.",
        "Content-Length is required: a chunked body is not read.",
    ),
    413: Error("request_too_large", "Send at most 32 MiB.", "The body is too large: at most 33554432 bytes."),
    429: Error(
        "rate_limit_error",
        "A limit of the API key, its team or the upstream is exceeded. Retry after the time in `retry-after`.",
        "Rate limit exceeded: 60 requests per minute for this API key. Retry after 3 s.",
        headers=WAIT,
    ),
    500: Error("api_error", "The gateway failed.", "Internal gateway error."),
    502: Error(
        "api_error",
        "The upstream failed, or rejected the credential of the gateway.",
        "The upstream returned no message.",
        headers=WAIT,
    ),
    503: Error("overloaded_error", "Retry shortly.", "The gateway is restarting; try again.", headers=WAIT),
    504: Error("timeout_error", "The upstream did not respond in time.", "The upstream did not respond in time."),
    529: Error("overloaded_error", "Retry shortly.", "the upstream is overloaded", headers=WAIT),
}
"""Every error status. The form of the body depends on the API."""

ALL_ERRORS = tuple(ERRORS)
LIST_ERRORS = (400, 401, 403, 429, 500, 503)


def error_responses(api_format: ModuleType, statuses: tuple[int, ...], *, rate_limited: bool = False) -> dict[str, Any]:
    """Return the error responses of an API, with examples produced by the API itself.

    Responses of rate-limited endpoints may have the rate limit headers.
    """
    schema = "EnvelopeError" if api_format is envelope else "AnthropicError"
    found = {}
    for status in statuses:
        error = ERRORS[status]
        example = api_format.failure(
            status=status, type=error.type, message=error.example, param=error.param, request_id=REQUEST_ID
        )
        found[str(status)] = {
            "description": f"`{error.type}`: {error.description}",
            "headers": headers(*error.headers, *(RATE_LIMIT_HEADERS if rate_limited else ())),
            "content": {JSON: {"schema": ref(schema), "example": example}},
        }
    return found
