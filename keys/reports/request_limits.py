"""Limits of one request: the rule that it exceeded and what it reserved, as far as its record has them."""

from dataclasses import dataclass

from keys.domain.amounts import PERIOD_ADJECTIVES, format_amount
from keys.domain.limits import LimitExceeded
from keys.models import Budget, UsageRecord
from keys.reports.rejections import rule_in_words


@dataclass(frozen=True, kw_only=True, slots=True)
class ReservationLine:
    """What the request reserved of one budget when it was admitted."""

    budget: str
    amount: str
    owner: str
    """`key` or `team`; empty for a deleted budget."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestLimits:
    """What is stored about the limits of a request."""

    exceeded: str
    """The rule that rejected it, or would have in shadow mode; empty for none."""
    is_shadow: bool
    resets: str
    needed: str
    """The amount that a rejected request had to reserve."""
    reservations: list[ReservationLine]


def request_limits(record: UsageRecord) -> RequestLimits:
    """Return the limits of a request. One query if it has reserved."""
    found = LimitExceeded.from_json(record.limit_exceeded or {})
    return RequestLimits(
        exceeded=rule_in_words(found) if record.limit_exceeded else "",
        is_shadow=found.shadow,
        resets=found.reset or "",
        needed=format_amount(found.needed, found.unit or "usd") if isinstance(found.needed, int) else "",
        reservations=_reservations(record),
    )


def _reservations(record: UsageRecord) -> list[ReservationLine]:
    reserved: dict[int, int] = dict(record.reservations or [])
    if not reserved:
        return []
    budgets = Budget.objects.in_bulk(list(reserved))
    return [_line(budgets.get(id), amount) for id, amount in reserved.items()]


def _line(budget: Budget | None, amount: int) -> ReservationLine:
    if budget is None:
        return ReservationLine(budget="Deleted budget", amount=f"{amount:,} (unit unknown)", owner="")
    return ReservationLine(
        budget=f"{PERIOD_ADJECTIVES.get(budget.period, budget.period).capitalize()} budget",
        amount=format_amount(amount, budget.unit),
        owner="key" if budget.api_key_id else "team",
    )
