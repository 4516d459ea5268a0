"""
Names and labels of the limits of a key or a team, the value that records which one rejected a request, and how much of
a budget is spent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, NamedTuple

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


UNIFIED = "anthropic-ratelimit-unified"
"""The headers in which Claude Code reads how much of a spending cap is used."""
WARNING_PERCENTS = (95, 75)
OVERAGE_PERIODS = {"day": "daily", "week": "weekly", "month": "monthly"}


class BudgetStanding(NamedTuple):
    """How much of a budget was spent when a request was admitted or rejected, without the requests in flight.

    Amounts are pico-dollars or tokens.
    """

    spent: int
    limit: int
    resets_at: datetime | None

    @property
    def percent(self) -> int:
        """The whole percents that are spent, 100 at most."""
        return 100 if self.limit <= 0 else max(0, min(100, 100 * self.spent // self.limit))

    def headers(self, status: str, *, most: int = 100) -> dict[str, str]:
        """Return the headers of all statuses. `most` bounds the percents: below 100 while requests are admitted."""
        found = {
            f"{UNIFIED}-status": status,
            f"{UNIFIED}-overage-utilization": f"{min(self.percent, most) / 100:.2f}",
        }
        if self.resets_at is not None:
            reset = str(int(self.resets_at.timestamp()))
            found |= {f"{UNIFIED}-reset": reset, f"{UNIFIED}-overage-reset": reset}
        return found


def budget_headers(standings: Sequence[BudgetStanding]) -> dict[str, str]:
    """Return the headers of an admitted request: of the budget with the largest share spent; none without a budget.

    Claude Code warns past 75 % and again past 95 %. `overage` is its name for a cap of any period: it takes those of
    five hours and seven days for rolling windows.
    """
    if not standings:
        return {}
    fullest = max(standings, key=lambda standing: standing.percent)
    surpassed = next((percent for percent in WARNING_PERCENTS if fullest.percent >= percent), None)
    status = "allowed" if surpassed is None else "allowed_warning"
    found = fullest.headers(status, most=99) | {
        f"{UNIFIED}-representative-claim": "overage",
        f"{UNIFIED}-overage-status": status,
    }
    if surpassed is not None:
        found[f"{UNIFIED}-overage-surpassed-threshold"] = f"{surpassed / 100:.2f}"
    return found


def exceeded_headers(standing: BudgetStanding, *, scope: str, period: str) -> dict[str, str]:
    """Return the headers of a request that a budget rejects.

    They do not name the kind of cap: then Claude Code would show a sentence of its own instead of the error's message.
    """
    found = standing.headers("rejected") | {f"{UNIFIED}-overage-disabled-reason": "org_spend_cap_reached"}
    if period in OVERAGE_PERIODS:
        found[f"{UNIFIED}-overage-period"] = OVERAGE_PERIODS[period]
    if scope == "team":
        found[f"{UNIFIED}-overage-scope"] = "group_pool"
    return found


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
