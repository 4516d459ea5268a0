"""Top movers: the keys and models whose cost or requests changed most from one week to the next."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Case, Q, QuerySet, Sum, Value, When
from django.utils import timezone

from keys.models import APIKey, HourlyUsage, UsageRecord
from keys.models.teams import Teams, of_teams
from keys.models.usage import part_names
from keys.reports import totals
from lib import money, periods

SHOWN = 5
WEEK = timedelta(days=7)
BEFORE, AFTER = 0, 1


@dataclass(kw_only=True, slots=True)
class _Change:
    """Cost and requests of a key or model in both weeks."""

    cost_picos: list[int] = field(default_factory=lambda: [0, 0])
    requests: list[int] = field(default_factory=lambda: [0, 0])


@dataclass(frozen=True, kw_only=True, slots=True)
class Mover:
    """A key or a model, with the figure of it that changed most, before and after."""

    dimension: str
    """`key` or `model`."""
    value: str
    """The key's public ID, or the name of the model."""
    name: str
    key_id: int | None
    measure: str
    """`cost` or `requests`."""
    before: int
    """Pico-dollars, or requests."""
    after: int

    @property
    def difference(self) -> int:
        return self.after - self.before


@dataclass(frozen=True, kw_only=True, slots=True)
class Movers:
    """The movers of the last week of whole hours, against the week before."""

    begin: datetime
    middle: datetime
    end: datetime
    movers: list[Mover]


def top_movers(*, teams: Teams, with_keys: bool) -> Movers:
    """Return the five keys and models that moved most: by the change as a share of all cost or of all requests.

    The share makes money and requests comparable: models without a price move too. Two queries, of rollups, and one for
    the names of keys.
    """
    end = periods.begin_of_hour(timezone.now())
    middle, begin = end - WEEK, end - 2 * WEEK
    hours = totals.hourly(begin, end).filter(of_teams(teams))
    changes = {("model", model): each for model, each in _by("model", hours, middle).items() if model}
    cost, requests = _sizes(changes.values())
    if with_keys:
        changes |= {("key", key_id): each for key_id, each in _by("api_key_id", hours, middle).items()}
    ranked = sorted(changes.items(), key=lambda item: -max(_shares(item[1], cost, requests)))
    moved = [(subject, each) for subject, each in ranked[:SHOWN] if max(_shares(each, cost, requests)) > 0]
    names = APIKey.objects.in_bulk([value for (dimension, value), _ in moved if dimension == "key"])
    movers = [_mover(subject, each, names, cost, requests) for subject, each in moved]
    return Movers(begin=begin, middle=middle, end=end, movers=movers)


def _by(column: str, hours: QuerySet[HourlyUsage], middle: datetime) -> dict[Any, _Change]:
    period = Case(When(hour__lt=middle, then=Value(BEFORE)), default=Value(AFTER))
    micros, rest = part_names("cost_usd_picos")
    rows = (
        hours.annotate(period=period)
        .values(column, "period")
        .annotate(
            admitted=Sum("requests", filter=~Q(status=UsageRecord.Status.REJECTED), default=0),
            micros=Sum(micros, default=0),
            rest=Sum(rest, default=0),
        )
    )
    found: dict[Any, _Change] = defaultdict(_Change)
    for row in rows.values_list(column, "period", "admitted", "micros", "rest"):
        subject, which, admitted, *parts = row
        found[subject].requests[which] = admitted
        found[subject].cost_picos[which] = money.join(*parts)
    return found


def _sizes(changes: Iterable[_Change]) -> tuple[int, int]:
    """Return the cost and the requests of both weeks, at least 1."""
    rows = list(changes)
    return max(1, sum(sum(each.cost_picos) for each in rows)), max(1, sum(sum(each.requests) for each in rows))


def _shares(change: _Change, cost: int, requests: int) -> tuple[float, float]:
    by_cost, by_requests = (abs(after - before) for before, after in (change.cost_picos, change.requests))
    return by_cost / cost, by_requests / requests


def _mover(subject: tuple[str, Any], change: _Change, keys: dict[int, APIKey], cost: int, requests: int) -> Mover:
    dimension, value = subject
    by_cost, by_requests = _shares(change, cost, requests)
    measure = "cost" if by_cost >= by_requests else "requests"
    before, after = change.cost_picos if measure == "cost" else change.requests
    key = keys[value] if dimension == "key" else None
    return Mover(
        dimension=dimension,
        value=key.public_id if key else value,
        name=key.name if key else value,
        key_id=key.pk if key else None,
        measure=measure,
        before=before,
        after=after,
    )
