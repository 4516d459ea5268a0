"""
Move of a budget's current period to the bounds of a changed reporting time zone.

Its spending is carried over: what the current period has spent, without the requests that it no longer contains, and
with those that it contains now. They are added up from the usage records, which name the budgets that they are charged
to. Requests in flight reserve, and later settle, in the period that contains their admission.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import connection
from django.db.models import BigIntegerField, F, Q, Sum
from django.db.models.expressions import RawSQL

from keys.budgets import alerts
from keys.budgets.locked_periods import lock_budgets
from keys.models import Budget, BudgetPeriod, UsageRecord
from keys.models.usage import BILLED_TOKEN_COLUMNS
from lib import money, periods

_CHARGED = {
    "postgresql": """(SELECT sum((item ->> 1)::bigint) FROM jsonb_array_elements("keys_usagerecord"."reservations")
        AS item WHERE (item ->> 0)::bigint = %s)""",
    "sqlite": """(SELECT sum(json_extract(item.value, '$[1]')) FROM json_each("keys_usagerecord"."reservations")
        AS item WHERE json_extract(item.value, '$[0]') = %s)""",
}
"""The reservation of a usage record in a budget, or NULL if it is not charged to it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Charges:
    """What requests spent and have reserved of a budget. Spending is in pico-dollars or tokens."""

    spent: int = 0
    reserved: int = 0


def move(budget_id: int, *, now: datetime) -> None:
    """Give the current period of a budget the bounds of the time zone in effect. To be called in a transaction.

    What lies before it stays in the period before. Periods that are over keep their bounds otherwise.
    """
    budget = lock_budgets([budget_id]).first()
    if budget is None or budget.period == Budget.Period.TOTAL:
        return
    begin, end = periods.bounds_of(budget.period, now)
    found = BudgetPeriod.objects.select_for_update().filter(budget=budget, ends_at__gt=begin).order_by("pk")
    rows = sorted(found, key=lambda row: row.starts_at)
    if not rows or [(row.starts_at, row.ends_at) for row in rows] == [(begin, end)]:
        return
    for row in rows:
        row.budget = budget
    earlier, later = [row for row in rows if row.starts_at < begin], [row for row in rows if row.starts_at >= begin]
    current = _merged(later) if later else BudgetPeriod(budget=budget)
    current.starts_at, current.ends_at = begin, end
    for row in earlier:  # one at most, since periods do not overlap
        if row.contains(now):
            current.alerted_at = row.alerted_at
        _shorten(row, current, now=now)
    alerts.queue_if_due(current)
    current.save()


def _merged(rows: Sequence[BudgetPeriod]) -> BudgetPeriod:
    """Return the first period with the amounts of all. Delete the others."""
    first, *others = rows
    for row in others:
        first.spend(row.spent_exactly)
        first.reserved += row.reserved
        first.alerted_at = first.alerted_at or row.alerted_at
        row.delete()
    return first


def _shorten(row: BudgetPeriod, current: BudgetPeriod, *, now: datetime) -> None:
    """End a period where the current one begins, which takes over its later requests."""
    if current.starts_at - row.starts_at < min(row.ends_at, now) - current.starts_at:  # the shorter part is added up
        kept = charges(row.budget, row.starts_at, current.starts_at)
        moved = Charges(spent=row.spent_exactly - kept.spent, reserved=row.reserved - kept.reserved)
    else:
        moved = charges(row.budget, current.starts_at, row.ends_at)
    row.ends_at = current.starts_at
    row.spend(-moved.spent)
    row.reserved = max(0, row.reserved - moved.reserved)
    row.save()
    current.spend(moved.spent)
    current.reserved += max(0, moved.reserved)


def charges(budget: Budget, begin: datetime, end: datetime) -> Charges:
    """Add up the usage records of a half-open interval that are charged to a budget. One query."""
    reserved = RawSQL(_CHARGED[connection.vendor], [budget.pk], output_field=BigIntegerField())
    records = UsageRecord.objects.filter(created_at__gte=begin, created_at__lt=end).order_by()
    if budget.api_key_id is not None:
        records = records.filter(api_key=budget.api_key_id)
    sums = (
        records.annotate(reserved_amount=reserved)
        .filter(reserved_amount__isnull=False)
        .aggregate(
            micros=Sum(F("cost_usd_picos") / money.PICOS_PER_MICRO, default=0),
            rest=Sum(F("cost_usd_picos") % money.PICOS_PER_MICRO, default=0),
            reserved=Sum("reserved_amount", filter=Q(status=UsageRecord.Status.STARTED), default=0),
            **{f"{name}_sum": Sum(name, default=0, filter=~Q(status="started")) for name in BILLED_TOKEN_COLUMNS},
        )
    )
    if budget.unit == Budget.Unit.USD:
        spent = sums["micros"] * money.PICOS_PER_MICRO + sums["rest"]
    else:
        spent = sum(sums[f"{name}_sum"] for name in BILLED_TOKEN_COLUMNS)
    return Charges(spent=int(spent), reserved=int(sums["reserved"]))
