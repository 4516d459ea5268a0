"""
Why a call is not let in. Each is told to the caller in the words of the lane.

* no credential, or not one of a usable key    401 authentication_error
* the key may not do this                      403 permission_error
* too much at a time                           429 rate_limit_error
* its row cannot be written now                503 overloaded_error
"""

from typing import Any


class Refused(Exception):
    """The call is not let in. `message` is safe to show: it never names a key, a digest or an allow-list."""

    status = 403
    type = "permission_error"

    def __init__(self, message: str, *, param: str | None = None, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.headers = headers or {}


class NotAuthenticated(Refused):
    """One answer for unknown, revoked, expired, disabled and ownerless keys: the difference is nobody's business."""

    status = 401
    type = "authentication_error"

    def __init__(self, message: str = "The API key is not valid.") -> None:
        super().__init__(message, headers={"WWW-Authenticate": "Bearer"})


class NotPermitted(Refused):
    """The key is good, but not for this."""


class LimitReached(Refused):
    """Too much at a time. `hit` says which limit of the key or its team refused, for the usage record."""

    status = 429
    type = "rate_limit_error"

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: int,
        headers: dict[str, str] | None = None,
        hit: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message, headers={"retry-after": str(retry_after_s), **(headers or {})})
        self.hit = hit


class LedgerUnavailable(Refused):
    """The database is away or too slow: without a row there is no call. Never a 401, which would blame the key."""

    status = 503
    type = "overloaded_error"

    def __init__(self) -> None:
        super().__init__("The gateway cannot record calls right now; try again shortly.", headers={"Retry-After": "2"})
