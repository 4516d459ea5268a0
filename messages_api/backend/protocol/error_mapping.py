"""Mapping of an upstream's errors to what the client gets: status, type and a message that is safe to show.

The client sees the upstream's message about its request. Errors of the gateway's account have a fixed message: the
upstream's may contain parts of the credential, and the client's own key and budget are not at fault.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from lib import failure_reasons as reasons
from messages_api.backend.protocol import wire
from messages_api.backend.protocol.overflow import overflow_message
from messages_api.backend.protocol.types import JSONObject

MAX_MESSAGE = 500
"""Characters kept of a body that is not an error object, such as a proxy's HTML page."""


NO_ERROR_MESSAGE = "The upstream returned an error."


@dataclass(frozen=True, slots=True)
class MappedError:
    """An upstream's error, mapped for the client."""

    status: int
    type: str
    message: str
    retry: bool | None = None
    """False: a retry of the client cannot succeed, and `x-should-retry` is sent. None: unknown."""
    reason: str = field(default="", compare=False)
    """The reason for the usage record, where it is more than the upstream's status."""


class UpstreamResponseError(Exception):
    """The body of a 200 is an error, or not a response of the API."""

    def __init__(self, mapped: MappedError) -> None:
        super().__init__(mapped.message)
        self.mapped = mapped


CREDENTIAL_REJECTED = MappedError(
    502, "api_error", "The upstream rejected the gateway's credential.", retry=False, reason=reasons.CREDENTIAL_REJECTED
)
CREDIT_EXHAUSTED = MappedError(
    502, "api_error", "The upstream account has run out of credit.", retry=False, reason=reasons.CREDIT_EXHAUSTED
)
NO_CHOICES = MappedError(502, "api_error", "The upstream returned no choices.", reason=reasons.RESPONSE_INVALID)
NO_MESSAGE = MappedError(502, "api_error", "The upstream returned no message.", reason=reasons.RESPONSE_INVALID)
STREAM_CUT = MappedError(
    502, "api_error", "The upstream stream ended before the response was complete.", reason=reasons.RESPONSE_CUT
)
STREAM_CUT_IN_TOOL_CALL = MappedError(
    502, "api_error", "The upstream stream ended inside a tool call.", reason=reasons.RESPONSE_CUT
)
TOO_MUCH_HELD = MappedError(
    502,
    "api_error",
    "The upstream sent more tool arguments than the gateway buffers.",
    reason=reasons.RESPONSE_TOO_LARGE,
)
NOT_JSON = MappedError(
    502, "api_error", "The upstream sent a frame that is not JSON.", reason=reasons.RESPONSE_NOT_JSON
)
NOT_AN_OBJECT = MappedError(
    502, "api_error", "The upstream sent a frame that is not an object.", reason=reasons.RESPONSE_INVALID
)
INVALID_EVENT = MappedError(502, "api_error", "The upstream sent an invalid event.", reason=reasons.RESPONSE_INVALID)
OUT_OF_ORDER = MappedError(
    502, "api_error", "The upstream sent an event out of order.", reason=reasons.RESPONSE_INVALID
)


FAILED_FINISH_REASONS = {
    "error": MappedError(
        500, "api_error", "The upstream ended with finish_reason 'error'.", reason=reasons.GENERATION_FAILED
    ),
    "abort": MappedError(
        500, "api_error", "The upstream ended with finish_reason 'abort'.", reason=reasons.GENERATION_FAILED
    ),
    "insufficient_system_resource": MappedError(
        529, "overloaded_error", "The upstream ran out of capacity.", reason=reasons.GENERATION_FAILED
    ),
}
"""Finish reasons of a failed generation."""
FAILED_GENERATIONS = frozenset(FAILED_FINISH_REASONS.values())

UNREADABLE = frozenset(
    {
        NO_CHOICES,
        NO_MESSAGE,
        STREAM_CUT,
        STREAM_CUT_IN_TOOL_CALL,
        TOO_MUCH_HELD,
        NOT_JSON,
        NOT_AN_OBJECT,
        INVALID_EVENT,
        OUT_OF_ORDER,
    }
)
"""Errors of responses that the upstream did not report itself: they may have been generated, and billed."""

_ACCOUNT_ERRORS = {401: CREDENTIAL_REJECTED, 402: CREDIT_EXHAUSTED, 403: CREDENTIAL_REJECTED}

_STATUS_AND_TYPE = {
    404: (404, "not_found_error"),
    408: (504, "timeout_error"),
    409: (409, "conflict_error"),
    413: (413, "request_too_large"),
    429: (429, "rate_limit_error"),
    500: (500, "api_error"),
    503: (529, "overloaded_error"),
    504: (504, "timeout_error"),
    529: (529, "overloaded_error"),
}
"""Status and type for an upstream's status. Other 4xx are 400 `invalid_request_error`, the rest 502 `api_error`."""

_STATUS_OF_CODE = {
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "insufficient_quota": 402,
    "server_overloaded": 503,
    "overloaded_error": 529,
    "context_length_exceeded": 400,
    "invalid_request_error": 400,
    "BadRequestError": 400,
    "INVALID_ARGUMENT": 400,
    "exceed_context_size_error": 400,
    "AuthenticationError": 401,
    "UNAUTHENTICATED": 401,
    "invalid_api_key": 401,
    "PERMISSION_DENIED": 403,
    "model_not_found": 404,
    "NotFoundError": 404,
    "NOT_FOUND": 404,
    "RateLimitError": 429,
    "RESOURCE_EXHAUSTED": 429,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
"""The status for an error inside a 200 or a stream, by its `code`, `type` or `status`."""

_STATUS_OF_TYPE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""Anthropic's error types."""

_TYPE_OF_STATUS = {status: error_type for error_type, status in _STATUS_OF_TYPE.items()}

_STATUS_OF_MINIMAX_CODE = {
    1001: 504,
    1002: 429,
    1004: 401,
    1008: 502,
    1013: 500,
    1024: 500,
    1026: 400,
    1027: 400,
    1033: 502,
    1039: 429,
    2013: 400,
    2049: 401,
}
"""The status for a code in MiniMax's `base_resp`."""

_MESSAGE_FIELDS = ("message", "error", "detail", "msg", "error_msg", "error_message", "status_msg")
# Gateways put the provider's own error into the text of theirs.
_GENERIC_MESSAGES = ("provider returned error", "upstream error", "")


def map_openai_error(status: int, body: object) -> MappedError:
    """Map an error of an OpenAI-compatible upstream.

    `body` is the decoded body, or its text if it is not JSON. Status 200 is an error inside a body or a stream.
    """
    error = _error_object(body)
    codes = [value for name in ("code", "type", "status") if isinstance(value := error.get(name), str)]
    is_unknown = False
    if status == 200:
        known = _status_inside(error.get("code"), codes)
        status, is_unknown = known or 500, known is None
    if "insufficient_quota" in codes:
        return CREDIT_EXHAUSTED
    if status in _ACCOUNT_ERRORS:
        return _ACCOUNT_ERRORS[status]

    message = _text(body, error)
    is_request_fault = 400 <= status < 500 and (status == 413 or status not in _STATUS_AND_TYPE)
    if is_request_fault or is_unknown:
        overflow = overflow_message(message, error, codes)
        if overflow is not None:
            return MappedError(400, "invalid_request_error", overflow, reason=reasons.CONTEXT_OVERFLOW)
    return MappedError(*_status_and_type(status), message)


def map_anthropic_error(status: int, body: object) -> MappedError:
    """Map an error of an Anthropic upstream: unchanged, unless it concerns the gateway's account.

    `body` is the decoded body, its text if it is not JSON, or an `error` event with status 200.
    """
    error = _error_object(body)
    error_type = error.get("type")
    if not isinstance(error_type, str) or error_type not in _STATUS_OF_TYPE:
        error_type = None
    if status == 200:
        status = _STATUS_OF_TYPE[error_type or "api_error"]
    if status in _ACCOUNT_ERRORS:
        return _ACCOUNT_ERRORS[status]
    if status not in range(400, 600):
        status = 502
    if error_type is None:
        error_type = _TYPE_OF_STATUS.get(status) or _status_and_type(status)[1]
    return MappedError(status, error_type, _text(body, error))


def _error_object(body: object) -> JSONObject:
    """Return the object with message, type and code; its place differs between upstreams."""
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, dict):
        return {}
    error = body.get("error")
    if isinstance(error, dict):
        return error
    if is_minimax_error(body):
        code = body["base_resp"]["status_code"]
        return {"code": _STATUS_OF_MINIMAX_CODE.get(code), "message": body["base_resp"].get("status_msg")}
    errors = body.get("errors")
    if not error and isinstance(errors, list) and errors:  # Cloudflare
        return errors[0] if isinstance(errors[0], dict) else {"message": errors[0]}
    return body


def is_minimax_error(body: JSONObject) -> bool:
    """Whether MiniMax reports an error. `base_resp` is in each of its responses."""
    base = body.get("base_resp")
    return isinstance(base, dict) and type(base.get("status_code")) is int and base["status_code"] != 0


def _text(body: object, error: Mapping[str, object]) -> str:
    """Return the message of an error, or a general one if it has none."""
    if isinstance(body, str):
        return body.strip()[:MAX_MESSAGE] or NO_ERROR_MESSAGE
    return _inner_text(error) or _own_text(error) or NO_ERROR_MESSAGE


def _own_text(error: Mapping[str, object]) -> str:
    for name in _MESSAGE_FIELDS:
        value = error.get(name)
        if value:
            return value if isinstance(value, str) else wire.encode_text(value)
    return ""


def _inner_text(error: Mapping[str, object]) -> str:
    """Return the provider's own message where a gateway hides it behind a general one, such as OpenRouter's."""
    own = _own_text(error)
    metadata = error.get("metadata")
    if own.strip().rstrip(".").lower() in _GENERIC_MESSAGES and isinstance(metadata, dict):
        return _decoded_text(metadata.get("raw"))
    return _decoded_text(own) if own.startswith("{") else ""


def _decoded_text(raw: object) -> str:
    """Return the message of an error that is inside a text, or the text itself if it is not JSON."""
    if isinstance(raw, str):
        try:
            raw = wire.decode(raw)
        except ValueError:
            return str(raw)
    return _own_text(_error_object(raw))


def _status_inside(code: object, codes: list[str]) -> int | None:
    """Return the status for an error inside a 200: a numeric code, else that of a known code or type."""
    if isinstance(code, str) and re.fullmatch("[45][0-9]{2}", code):
        return int(code)
    if type(code) is int and 400 <= code < 600:
        return code
    known = (_STATUS_OF_CODE.get(name) or _STATUS_OF_TYPE.get(name) for name in codes)
    return next((status for status in known if status), None)


def _status_and_type(status: int) -> tuple[int, str]:
    if status in _STATUS_AND_TYPE:
        return _STATUS_AND_TYPE[status]
    if 400 <= status < 500:
        return 400, "invalid_request_error"
    return 502, "api_error"
