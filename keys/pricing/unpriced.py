"""Unpriced models: models with recent requests whose cost is unknown because they have no price."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from operator import or_

from django.db.models import Max, Q
from django.utils import timezone

from keys.models import HourlyUsage, UsageRecord
from keys.models.usage import UNKNOWN_MODEL
from keys.pricing import price_book

RECENT = timedelta(days=30)
MAX_MODELS = 30
HOUR = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class UnpricedModel:
    """A model at an upstream. Prices refer to its name there."""

    model: str
    upstream: str
    requested_models: tuple[str, ...]
    """Names by which clients request it."""
    last_hour: datetime
    """The hour of its last unpriced request."""


def unpriced_models() -> list[UnpricedModel]:
    """Return the models that have no price now, the most recently used first. Five queries; one if there is none."""
    last_hours = _last_hours()
    if not last_hours:
        return []
    now, book = timezone.now(), price_book.load()
    requested: dict[tuple[str, str], set[str]] = defaultdict(set)
    for model, upstream, upstream_model in _upstream_names(last_hours):
        if book.find(upstream_model, upstream=upstream, at=now) is None:
            requested[upstream_model, upstream].add(model)
    found = [
        UnpricedModel(
            model=upstream_model,
            upstream=upstream,
            requested_models=tuple(sorted(names)),
            last_hour=max(last_hours[name, upstream] for name in names),
        )
        for (upstream_model, upstream), names in requested.items()
    ]
    return sorted(found, key=lambda each: (each.last_hour, each.model), reverse=True)


def _last_hours() -> dict[tuple[str, str], datetime]:
    """Return the hour of the last unpriced request, by requested model and upstream."""
    # The condition of the partial index, literally: SQLite does not match an index condition with a parameter.
    hours = HourlyUsage.objects.extra(where=['"keys_hourlyusage"."unpriced_requests" > 0'])
    hours = hours.exclude(upstream="").exclude(model=UNKNOWN_MODEL).order_by()
    recent = hours.filter(hour__gte=timezone.now() - RECENT).values_list("model", "upstream")
    rows = recent.annotate(last=Max("hour")).order_by("-last", "model")[:MAX_MODELS]
    return {(model, upstream): last for model, upstream, last in rows}


def _upstream_names(last_hours: dict[tuple[str, str], datetime]) -> list[tuple[str, str, str]]:
    """Return model, upstream and upstream model, from the usage records of that hour.

    Where those records no longer exist, the requested name is used as the upstream model.
    """
    conditions = [
        Q(model=model, upstream=upstream, created_at__gte=hour, created_at__lt=hour + HOUR)
        for (model, upstream), hour in last_hours.items()
    ]
    records = UsageRecord.objects.filter(reduce(or_, conditions), cost_usd_picos=None).order_by()
    found = list(records.values_list("model", "upstream", "upstream_model").distinct())
    known = {(model, upstream) for model, upstream, _ in found}
    return found + [(*pair, pair[0]) for pair in last_hours if pair not in known]
