"""
Errors of an attempt. Each becomes an UpstreamError(status, type, message, retry_scope).

* connection failed                      502 api_error         same target, then the next
* timeout of the gateway                 504 timeout_error     no retry: the response may have been generated and
                                                               billed (unless the upstream has `retry_on_timeout`)
* overloaded (503, 529)                  529 overloaded_error  same target, then the next
* rate-limited or failing (429, 5xx)     its status            same target after its retry-after, then the next
* the gateway's account (401, 402, 403)  502 api_error         next target
* invalid request (400, 404 …)           its status            no retry
* invalid response                       502 api_error         same target, then the next; no retry if it has content or
                                                               usage, since it was billed (`bills_unreadable`)

Retries happen before the first byte of the response only.
"""

import enum

from lib import failure_reasons as reasons
from messages_api.backend.backoff import parse_retry_after
from messages_api.backend.endpoint import Endpoint
from messages_api.backend.protocol.error_mapping import MappedError


class RetryScope(enum.Enum):
    """Which targets may be tried after an error."""

    SAME_TARGET = "same target"
    """The same target, and then the next."""
    NEXT_TARGET = "next target"
    NONE = "none"


class UpstreamError(Exception):
    """A failed attempt. `message` is safe to show: it contains no credential, URL or connection details."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 502,
        type: str = "api_error",
        retry_scope: RetryScope = RetryScope.SAME_TARGET,
        param: str | None = None,
        headers: dict[str, str] | None = None,
        reason: str = reasons.RESPONSE_INVALID,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.type = type
        self.retry_scope = retry_scope
        self.param = param
        self.headers = headers or {}
        self.reason = reason
        """The reason for usage record and log: from a closed list, never a text of the upstream."""

    @classmethod
    def from_mapped(
        cls,
        mapped: MappedError,
        *,
        endpoint: Endpoint,
        headers: dict[str, str] | None = None,
        http_status: int = 200,
    ) -> "UpstreamError":
        """Return the error for a mapped error of the upstream, with the credential and URLs redacted."""
        if mapped.retry is False:
            headers = {**(headers or {}), "x-should-retry": "false"}
        return cls(
            endpoint.redact(mapped.message),
            status=mapped.status,
            type=mapped.type,
            retry_scope=_retry_scope(mapped),
            headers=headers,
            reason=_reason(mapped, http_status),
        )

    @classmethod
    def unsupported(cls, message: str, *, param: str | None) -> "UpstreamError":
        """Return the 400 for a request that this upstream's dialect cannot express."""
        return cls(
            message,
            status=400,
            type="invalid_request_error",
            retry_scope=RetryScope.NONE,
            param=param,
            reason=reasons.REQUEST_UNSUPPORTED,
        )

    def as_billed(self) -> "UpstreamError":
        """Return the error without another attempt, here or by the client: the upstream generated a response."""
        self.retry_scope = RetryScope.NONE
        self.headers = {**self.headers, "x-should-retry": "false"}
        return self

    @property
    def is_upstream_fault(self) -> bool:
        """Whether the error counts against the upstream's health. An invalid request does not."""
        return self.status in RETRYABLE_STATUSES

    @property
    def retry_after_s(self) -> float | None:
        """The seconds of the upstream's `retry-after`; None if it is missing or invalid."""
        return parse_retry_after(self.headers.get("retry-after", ""))


RETRYABLE_STATUSES = {408, 429, 500, 502, 503, 504, 529}


def _retry_scope(mapped: MappedError) -> RetryScope:
    if mapped.retry is False:
        return RetryScope.NEXT_TARGET
    return RetryScope.SAME_TARGET if mapped.status in RETRYABLE_STATUSES else RetryScope.NONE


def _reason(mapped: MappedError, http_status: int) -> str:
    """Return the reason of a mapped error: its own, or the upstream's status."""
    if http_status != 200:
        return reasons.numbered(mapped.reason or reasons.HTTP_STATUS, http_status)
    return mapped.reason or reasons.numbered(reasons.ERROR_IN_RESPONSE, mapped.status)


class Aborted(Exception):
    """The gateway aborted the exchange; the code that did so handles the consequences."""


def cause_of(error: UpstreamError) -> str:
    """Return the cause of an error for the log: the innermost class, with the operating system's text if it has one.

    Other texts of foreign errors are left out: they may contain a URL or parts of a response.
    """
    inner: BaseException = error
    while (deeper := inner.__cause__ or inner.__context__) is not None:
        inner = deeper
    if inner is error:
        return ""
    text = getattr(inner, "verify_message", None) or getattr(inner, "strerror", None)
    return f"{type(inner).__name__}: {text}" if text else type(inner).__name__
