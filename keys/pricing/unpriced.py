"""Which models were called lately and have no price: what they cost is known to nobody."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from operator import or_

from django.db.models import Max, Q
from django.utils import timezone

from keys.models import HourlyUsage, UsageRecord
from keys.pricing import price_book

LATELY = timedelta(days=30)
MOST = 30
HOUR = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Unpriced:
    """A model at an upstream. Prices go by its name there."""

    model: str
    upstream: str
    requested_models: tuple[str, ...]
    """What callers call it."""
    last_hour: datetime
    """In which it was last called without a price."""


def models() -> list[Unpriced]:
    """Those that have no price now, the last called first. Three queries, however many calls."""
    last_hours = _last_hours()
    now, book = timezone.now(), price_book.read()
    asked: dict[tuple[str, str], set[str]] = defaultdict(set)
    for model, upstream, upstream_model in _names_there(last_hours):
        if book.find(upstream_model, upstream=upstream, at=now) is None:
            asked[upstream_model, upstream].add(model)
    found = [
        Unpriced(
            model=upstream_model,
            upstream=upstream,
            requested_models=tuple(sorted(names)),
            last_hour=max(last_hours[name, upstream] for name in names),
        )
        for (upstream_model, upstream), names in asked.items()
    ]
    return sorted(found, key=lambda each: (each.last_hour, each.model), reverse=True)


def _last_hours() -> dict[tuple[str, str], datetime]:
    """When each model, as callers name it, was last called without a price at an upstream."""
    # The condition of the index that holds only these, word for word: SQLite does not look into parameters.
    hours = (
        HourlyUsage.objects.extra(where=['"keys_hourlyusage"."unpriced_requests" > 0']).exclude(upstream="").order_by()
    )
    lately = hours.filter(hour__gte=timezone.now() - LATELY).values_list("model", "upstream")
    rows = lately.annotate(last=Max("hour")).order_by("-last", "model")[:MOST]
    return {(model, upstream): last for model, upstream, last in rows}


def _names_there(last_hours: dict[tuple[str, str], datetime]) -> list[tuple[str, str, str]]:
    """The same with the names at the upstream, from the rows of that hour; callers' own where those are gone."""
    if not last_hours:
        return []
    requests = [
        Q(model=model, upstream=upstream, created_at__gte=hour, created_at__lt=hour + HOUR)
        for (model, upstream), hour in last_hours.items()
    ]
    rows = UsageRecord.objects.filter(reduce(or_, requests), cost_usd_micros=None).order_by()
    found = list(rows.values_list("model", "upstream", "upstream_model").distinct())
    known = {(model, upstream) for model, upstream, _ in found}
    return found + [(*place, place[0]) for place in last_hours if place not in known]
