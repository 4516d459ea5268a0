"""What an upstream's own error becomes for the caller: status, type and a message that is safe to show.

The caller learns what was wrong with the request. What was wrong with our account is told in a fixed text: the
upstream's may hold parts of our credential, and the caller's own key and budget were fine.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from messages_api.backend.protocol import wire
from messages_api.backend.protocol.types import JSONObject

MAX_TEXT = 500
"""How much is kept of a body that is no error object, such as a proxy's page."""


@dataclass(frozen=True, slots=True)
class MappedError:
    """An upstream's error as the caller gets it."""

    status: int
    type: str
    message: str
    retry: bool | None = None
    """False: no attempt of the caller can succeed, which `x-should-retry` says. None: nothing is known."""


class UpstreamResponseError(Exception):
    """An upstream answered with an error, or with something that is no answer."""

    def __init__(self, mapped: MappedError) -> None:
        super().__init__(mapped.message)
        self.mapped = mapped


CREDENTIALS_REJECTED = MappedError(502, "api_error", "the upstream rejected the gateway's credentials", retry=False)
QUOTA_EXCEEDED = MappedError(502, "api_error", "the upstream account has no remaining quota", retry=False)
NO_CHOICES = MappedError(502, "api_error", "the upstream returned no choices")
NO_MESSAGE = MappedError(502, "api_error", "the upstream returned no message")
STREAM_CUT = MappedError(502, "api_error", "the upstream stream ended before the answer was complete")
STREAM_CUT_IN_TOOL_CALL = MappedError(502, "api_error", "the upstream stream ended inside a tool call")
NOT_JSON = MappedError(502, "api_error", "the upstream sent a frame that is not JSON")
NOT_AN_OBJECT = MappedError(502, "api_error", "the upstream sent a frame that is not an object")
INVALID_EVENT = MappedError(502, "api_error", "the upstream sent an event of the wrong shape")
OUT_OF_ORDER = MappedError(502, "api_error", "the upstream sent an event out of order")

FAILED_FINISH_REASONS = {
    "error": MappedError(500, "api_error", "the upstream ended with finish_reason 'error'"),
    "abort": MappedError(500, "api_error", "the upstream ended with finish_reason 'abort'"),
    "insufficient_system_resource": MappedError(529, "overloaded_error", "the upstream ran out of capacity"),
}
"""Finish reasons that are no end of an answer."""

_OUR_ACCOUNT = {401: CREDENTIALS_REJECTED, 402: QUOTA_EXCEEDED, 403: CREDENTIALS_REJECTED}

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
"""What a caller gets for an upstream's status. Other 4xx are 400 `invalid_request_error`, the rest 502 `api_error`."""

_STATUS_OF_CODE = {
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "insufficient_quota": 402,
    "server_overloaded": 503,
    "overloaded_error": 529,
    "context_length_exceeded": 400,
    "invalid_request_error": 400,
    "BadRequestError": 400,
}
"""The status that an error inside a 200 or a stream would have had, by its `code` or `type`."""

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

_OVERFLOW_WORDS = (
    "maximum context length",
    "context window",
    "exceeds the available context",
    "too many tokens",
    "input is too long",
)
# A number that stands alone: not the date in a model's name. Grouped by commas or not.
_TOKEN_COUNT = re.compile(r"(?<![\w.,-])(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{3,12})(?![0-9])")


def map_openai_error(status: int, body: object) -> MappedError:
    """Return what the caller gets for an error of an OpenAI-compatible upstream.

    `body` is the decoded body, or its text where it is no JSON. Status 200 is an error inside a body or a stream.
    """
    error = _error_object(body)
    codes = [value for value in (error.get("code"), error.get("type")) if isinstance(value, str)]
    if status == 200:
        status = _status_inside(error.get("code"), codes)
    if "insufficient_quota" in codes:
        return QUOTA_EXCEEDED
    if status in _OUR_ACCOUNT:
        return _OUR_ACCOUNT[status]

    message = _text(body, error)
    is_request_fault = 400 <= status < 500 and (status == 413 or status not in _STATUS_AND_TYPE)
    if is_request_fault and _is_overflow(message, codes):
        return MappedError(400, "invalid_request_error", _overflow_message(message, error))
    return MappedError(*_status_and_type(status), message)


def map_anthropic_error(status: int, body: object) -> MappedError:
    """Return what the caller gets for an error of an Anthropic upstream: the same, unless it is about our account.

    `body` is the decoded body, its text where it is no JSON, or an `error` event with status 200.
    """
    error = _error_object(body)
    error_type = error.get("type")
    if not isinstance(error_type, str) or error_type not in _STATUS_OF_TYPE:
        error_type = None
    if status == 200:
        status = _STATUS_OF_TYPE[error_type or "api_error"]
    if status in _OUR_ACCOUNT:
        return _OUR_ACCOUNT[status]
    if status < 400:
        status = 502
    if error_type is None:
        error_type = _TYPE_OF_STATUS.get(status) or _status_and_type(status)[1]
    return MappedError(status, error_type, _text(body, error))


def gateway_error(error_type: str, message: str) -> MappedError:
    """Return a failure that the gateway found itself, such as its own timeout."""
    status = 502 if error_type == "api_error" else _STATUS_OF_TYPE[error_type]
    return MappedError(status, error_type, message)


def _error_object(body: object) -> JSONObject:
    """Return the object that holds message, type and code, wherever this upstream puts it."""
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, dict):
        return {}
    error = body.get("error")
    if isinstance(error, dict):
        return error
    return body


def _text(body: object, error: Mapping[str, object]) -> str:
    """Return the message of an error; `upstream error` where it has none."""
    if isinstance(body, str):
        return body.strip()[:MAX_TEXT] or "upstream error"
    for field in ("message", "error", "detail"):
        value = error.get(field)
        if value:
            return value if isinstance(value, str) else wire.encode_text(value)
    return "upstream error"


def _status_inside(code: object, codes: list[str]) -> int:
    """Return the status that an error inside a 200 stands for: a numeric code, else a known word, else 500."""
    if isinstance(code, str) and re.fullmatch("[45][0-9]{2}", code):
        return int(code)
    if type(code) is int and 400 <= code < 600:
        return code
    return next((_STATUS_OF_CODE[word] for word in codes if word in _STATUS_OF_CODE), 500)


def _status_and_type(status: int) -> tuple[int, str]:
    if status in _STATUS_AND_TYPE:
        return _STATUS_AND_TYPE[status]
    if 400 <= status < 500:
        return 400, "invalid_request_error"
    return 502, "api_error"


def _is_overflow(message: str, codes: list[str]) -> bool:
    text = message.lower()
    return "context_length_exceeded" in codes or any(words in text for words in _OVERFLOW_WORDS)


def _overflow_message(message: str, error: JSONObject) -> str:
    """Say that the prompt is too long in the words that make Claude Code compact its conversation."""
    asked, limit = error.get("n_prompt_tokens"), error.get("n_ctx")
    if type(asked) is not int or type(limit) is not int:
        counts = [int(count.replace(",", "")) for count in _TOKEN_COUNT.findall(message)]
        if len(counts) < 2:
            return f"prompt is too long: {message}"
        asked, limit = max(counts), min(counts)
    return f"prompt is too long: {asked} tokens > {limit} maximum"
