"""
The errors that reject a request, with their HTTP status and error type. Each API states them in its own format.

* a cost budget, and a cost without a bound       400 invalid_request_error
* no valid API key                                401 authentication_error
* a budget is exceeded, or the model is unpriced  402 billing_error
* the access policy does not allow the request    403 permission_error
* a rate or concurrency limit is exceeded         429 rate_limit_error
* the usage record cannot be written              503 overloaded_error
"""

from keys.domain.amounts import PERIOD_ADJECTIVES, format_amount
from keys.domain.limits import BUDGET, PRICE, BudgetStanding, LimitExceeded, exceeded_headers


class RequestRejected(Exception):
    """The request is not admitted. `message` is safe to show: it never names a key, a digest or an IP allowlist."""

    status = 403
    type = "permission_error"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        headers: dict[str, str] | None = None,
        limit_exceeded: LimitExceeded | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.headers = headers or {}
        self.limit_exceeded = limit_exceeded
        """The limit that rejects the request, for the usage record."""


class NotAuthenticated(RequestRejected):
    """The key is unknown, revoked, expired, disabled or without an active owner. The response is the same for all."""

    status = 401
    type = "authentication_error"

    def __init__(self, message: str = "The API key is not valid.") -> None:
        super().__init__(message, headers={"WWW-Authenticate": "Bearer"})


class NotPermitted(RequestRejected):
    """The key is valid, but its access policy does not allow the request."""


class BudgetExceeded(RequestRejected):
    """The maximum cost of the request exceeds the remaining budget. A retry cannot succeed before the budget resets."""

    status = 402
    type = "billing_error"

    def __init__(
        self, *, scope: str, period: str, unit: str, standing: BudgetStanding, limit: int, remaining: int, needed: int
    ) -> None:
        resets_at = standing.resets_at
        owner = {"key": "this API key", "team": "the team of this API key"}[scope]
        resets = f"Resets at {resets_at.isoformat()}." if resets_at else "It does not reset."
        super().__init__(
            f"Budget exceeded: {format_amount(remaining, unit)} remaining of the {PERIOD_ADJECTIVES[period]} budget "
            f"of {format_amount(limit, unit)} for {owner}; "
            f"this request may cost up to {format_amount(needed, unit)}. {resets}",
            headers={"x-should-retry": "false", **exceeded_headers(standing, scope=scope, period=period)},
            limit_exceeded=LimitExceeded(
                scope=scope,
                limit=BUDGET,
                value=limit,
                reset=resets_at.isoformat() if resets_at else None,
                period=period,
                unit=unit,
                needed=needed,
            ),
        )


class Unpriced(RequestRejected):
    """The key has a cost budget and the model has no price, so the cost of the request would be unknown."""

    status = 402
    type = "billing_error"

    def __init__(self, param: str = "model", *, value: str = "") -> None:
        what = "Model" if param == "model" and not value else f"“{value}”" if value else f"{param}: the model"
        super().__init__(
            f"{what} has no price configured, so it cannot be used with a cost budget. Contact the gateway operator.",
            param=param,
            headers={"x-should-retry": "false"},
            limit_exceeded=LimitExceeded(scope="model", limit=PRICE),
        )


class CostUnbounded(RequestRejected):
    """The key has a cost budget and a field of the request allows a cost without a bound."""

    status = 400
    type = "invalid_request_error"

    def __init__(self, param: str, what_to_change: str) -> None:
        super().__init__(
            f"{param}: the cost of the request has no bound, which a cost budget needs. {what_to_change}.",
            param=param,
            headers={"x-should-retry": "false"},
        )


class RateLimitExceeded(RequestRejected):
    """A rate or concurrency limit of the key or its team is exceeded."""

    status = 429
    type = "rate_limit_error"

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: int,
        headers: dict[str, str] | None = None,
        limit_exceeded: LimitExceeded | None = None,
    ) -> None:
        headers = {"retry-after": str(retry_after_s), **(headers or {})}
        super().__init__(message, headers=headers, limit_exceeded=limit_exceeded)


class LedgerUnavailable(RequestRejected):
    """The database is unavailable or too slow. Without a usage record no request is admitted.

    Never a 401, which would blame the key.
    """

    status = 503
    type = "overloaded_error"

    def __init__(self) -> None:
        super().__init__("Usage recording is temporarily unavailable. Retry shortly.", headers={"Retry-After": "2"})
