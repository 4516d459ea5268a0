"""
Why a call is not let in. Each is told to the caller in the words of the lane.

* no credential, or not one of a usable key    401 authentication_error
* a budget has not as much left                402 billing_error
* the key may not do this                      403 permission_error
* too much at a time                           429 rate_limit_error
* its row cannot be written now                503 overloaded_error
"""

from datetime import datetime
from typing import Any

from keys.domain.amounts import PERIOD_ADJECTIVES, format_amount


class RequestRejected(Exception):
    """The call is not let in. `message` is safe to show: it never names a key, a digest or an allow-list."""

    status = 403
    type = "permission_error"

    def __init__(self, message: str, *, param: str | None = None, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.headers = headers or {}


class NotAuthenticated(RequestRejected):
    """One answer for unknown, revoked, expired, disabled and ownerless keys: the difference is nobody's business."""

    status = 401
    type = "authentication_error"

    def __init__(self, message: str = "The API key is not valid.") -> None:
        super().__init__(message, headers={"WWW-Authenticate": "Bearer"})


class NotPermitted(RequestRejected):
    """The key is good, but not for this. `hit` says which rule refused, for the usage record."""

    def __init__(self, message: str, *, hit: dict[str, Any], param: str | None = None) -> None:
        super().__init__(message, param=param)
        self.hit = hit


class BudgetExceeded(RequestRejected):
    """A budget has not as much left as the call may cost. No attempt of the caller can succeed before it is reset."""

    status = 402
    type = "billing_error"

    def __init__(
        self, *, scope: str, period: str, unit: str, limit: int, left: int, needed: int, resets_at: datetime | None
    ) -> None:
        whose = {"key": "of this API key", "team": "of the team of this API key"}[scope]
        resets = f"It resets at {resets_at.isoformat()}." if resets_at else "It does not reset."
        super().__init__(
            f"The {PERIOD_ADJECTIVES[period]} budget {whose} is {format_amount(limit, unit)}: "
            f"{format_amount(left, unit)} are left, and this call may need {format_amount(needed, unit)}. {resets}",
            headers={"x-should-retry": "false"},
        )
        self.hit = {
            "scope": scope,
            "limit": f"budget_{period}_{unit}",
            "value": limit,
            "needed": needed,
            "reset": resets_at.isoformat() if resets_at else None,
        }


class Unpriced(RequestRejected):
    """A key that has a budget in money calls a model without a price: nobody could say what it would spend."""

    status = 402
    type = "billing_error"

    def __init__(self) -> None:
        super().__init__(
            "The requested model has no price here, so a key with a budget in money cannot use it. "
            "Ask the operator of this gateway for a price.",
            param="model",
            headers={"x-should-retry": "false"},
        )
        self.hit = {"scope": "model", "limit": "price", "value": None, "reset": None}


class RateLimitExceeded(RequestRejected):
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


class LedgerUnavailable(RequestRejected):
    """The database is away or too slow: without a row there is no call. Never a 401, which would blame the key."""

    status = 503
    type = "overloaded_error"

    def __init__(self) -> None:
        super().__init__("The gateway cannot record calls right now; try again shortly.", headers={"Retry-After": "2"})
