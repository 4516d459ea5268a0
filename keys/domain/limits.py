"""Names and labels of the limits of a key or a team, and the value that records which one rejected a request."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

REQUESTS = "requests_per_minute"
TOKENS = "tokens_per_minute"
CONCURRENCY = "concurrent_requests"
LIMITS = (REQUESTS, TOKENS, CONCURRENCY)
"""The fields of the access policy that hold them."""
LIMIT_LABELS = {
    REQUESTS: "requests per minute",
    TOKENS: "tokens per minute",
    CONCURRENCY: "concurrent requests",
}

ALLOWED_IPS = "allowed_ips"
ALLOWED_MODELS = "allowed_models"
BUDGET = "budget"
PRICE = "price"


@dataclass(frozen=True, kw_only=True, slots=True)
class LimitExceeded:
    """The limit, budget or allowlist that rejected a request, or that would reject it outside shadow mode."""

    scope: str
    """`key`, `team` or `model`."""
    limit: str
    """One of the names in this module."""
    value: int | None = None
    """Of a limit in its unit, of a budget in micro-dollars or tokens. None for an allowlist or a missing price."""
    reset: str | None = None
    """When the limit is fully replenished or the budget resets, in RFC 3339."""
    shadow: bool = False
    """The request was admitted: the limit is in shadow mode."""
    period: str | None = None
    """Of a budget."""
    unit: str | None = None
    """Of a budget: `usd` or `tokens`."""
    needed: int | None = None
    """The amount that the request had to reserve of the budget."""

    def to_json(self) -> dict[str, Any]:
        """Return the form that a usage record stores: the fields of a budget only where they apply."""
        of_budget = ("period", "unit", "needed")
        return {name: value for name, value in asdict(self).items() if value is not None or name not in of_budget}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "LimitExceeded":
        """Return the value that `to_json` stored. Fields may be missing."""
        return cls(
            scope=data.get("scope") or "",
            limit=data.get("limit") or "",
            value=data.get("value"),
            reset=data.get("reset"),
            shadow=bool(data.get("shadow")),
            period=data.get("period"),
            unit=data.get("unit"),
            needed=data.get("needed"),
        )
