"""
What can go wrong upstream. Each becomes an UpstreamError(status, type, message, again).

* no connection, or one that broke      502 api_error         here again, then at the next target
* a deadline of ours has passed         504 timeout_error     nowhere: the answer may have been generated and billed
                                                              (unless the upstream is marked `retry_on_timeout`)
* it is overloaded (503, 529)           529 overloaded_error  here again, then at the next target
* it is limited or broken (429, 5xx)    its status            here again, after its retry-after
* it refuses us (401, 402, 403)         502 api_error         at the next target: our account, our fault
* it refuses the request (400, 404 …)   its status            nowhere
* an answer that cannot be understood   502 api_error         here again, then at the next target

Before the first byte only: after it nothing is tried again.
"""

import enum

from messages_api.backend.backoff import parse_retry_after
from messages_api.backend.endpoint import Endpoint
from messages_api.backend.protocol.error_mapping import MappedError
from messages_api.backend.redaction import redacted


class RetryScope(enum.Enum):
    """Where another attempt makes sense."""

    SAME_TARGET = "here"
    """At the same target, and then at the next."""
    NEXT_TARGET = "elsewhere"
    NONE = "nowhere"


class UpstreamError(Exception):
    """An attempt failed. `message` is safe to show: it never names our account, an address or a connection."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 502,
        type: str = "api_error",
        retry_scope: RetryScope = RetryScope.SAME_TARGET,
        param: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.type = type
        self.retry_scope = retry_scope
        self.param = param
        self.headers = headers or {}

    @classmethod
    def from_mapped(
        cls, failure: MappedError, *, endpoint: Endpoint, headers: dict[str, str] | None = None
    ) -> "UpstreamError":
        """What an upstream's own error becomes for the caller."""
        if failure.retry is False:
            headers = {**(headers or {}), "x-should-retry": "false"}
        return cls(
            redacted(failure.message, endpoint),
            status=failure.status,
            type=failure.type,
            retry_scope=_retry_scope(failure),
            headers=headers,
        )

    @classmethod
    def unsupported(cls, message: str, *, param: str | None) -> "UpstreamError":
        """The request asks for something that this upstream's dialect cannot say."""
        return cls(message, status=400, type="invalid_request_error", retry_scope=RetryScope.NONE, param=param)

    @property
    def is_upstream_fault(self) -> bool:
        """Whether it speaks against the upstream: what is wrong with a request says nothing of its health."""
        return self.status in RETRYABLE_STATUSES

    @property
    def retry_after_s(self) -> float | None:
        """How many seconds the upstream asks to wait. None: it does not say, or nothing that can be understood."""
        return parse_retry_after(self.headers.get("retry-after", ""))


RETRYABLE_STATUSES = {408, 429, 500, 502, 503, 504, 529}


def _retry_scope(failure: MappedError) -> RetryScope:
    if failure.retry is False:
        return RetryScope.NEXT_TARGET
    return RetryScope.SAME_TARGET if failure.status in RETRYABLE_STATUSES else RetryScope.NONE


class Aborted(Exception):
    """The exchange was ended from our side. Whoever ended it knows why."""


def cause_of(error: UpstreamError) -> str:
    """Why an exchange failed, for the log: the innermost class, with the system's own words where it has some.

    Nothing else of a foreign error is said: it may hold an address, or parts of an answer.
    """
    inner: BaseException = error
    while (deeper := inner.__cause__ or inner.__context__) is not None:
        inner = deeper
    if inner is error:
        return ""
    words = getattr(inner, "verify_message", None) or getattr(inner, "strerror", None)
    return f"{type(inner).__name__}: {words}" if words else type(inner).__name__
