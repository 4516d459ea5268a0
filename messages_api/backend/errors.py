"""
What can go wrong upstream. Each becomes an UpstreamError(status, type, message, retry).

* no connection, or one that broke      502 api_error         retry
* a deadline of ours has passed         504 timeout_error     no retry: the answer may have been generated and billed
* it is overloaded (503, 529)           529 overloaded_error  retry
* it is limited or broken (429, 500)    its status            retry, after its retry-after
* it refuses us (401, 402, 403)         502 api_error         our account, our fault: no retry
* it refuses the request (400, 404 …)   its status            no retry
* an answer that cannot be understood   502 api_error         retry

Before the first byte only: after it nothing is retried.
"""

from messages_api.backend.endpoint import Endpoint
from messages_api.backend.protocol.failures import Failure
from messages_api.backend.redaction import redacted


class UpstreamError(Exception):
    """An attempt failed. `message` is safe to show: it never names our account, an address or a connection."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 502,
        type: str = "api_error",
        retry: bool = True,
        param: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.type = type
        self.retry = retry
        self.param = param
        self.headers = headers or {}

    @classmethod
    def from_failure(
        cls, failure: Failure, *, endpoint: Endpoint, headers: dict[str, str] | None = None
    ) -> "UpstreamError":
        """What an upstream's own error becomes for the caller."""
        if failure.retry is False:
            headers = {**(headers or {}), "x-should-retry": "false"}
        return cls(
            redacted(failure.message, endpoint),
            status=failure.status,
            type=failure.type,
            retry=failure.status in RETRIED and failure.retry is not False,
            headers=headers,
        )

    @classmethod
    def refused(cls, message: str, *, param: str | None) -> "UpstreamError":
        """The request asks for something that this upstream's dialect cannot say."""
        return cls(message, status=400, type="invalid_request_error", retry=False, param=param)


RETRIED = {408, 429, 500, 502, 503, 529}


class Aborted(Exception):
    """The exchange was ended from our side. Whoever ended it knows why."""
