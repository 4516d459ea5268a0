"""Models in use: those of routes, of recent requests and of unpriced ones."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import QuerySet
from django.utils import timezone

from keys.models import UsageRecord
from keys.pricing.unpriced import unpriced_models

RECENT = timedelta(days=30)
MAX_RECORDS = 50_000
"""The latest requests that are read. Their number bounds the time of a review."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UsedModel:
    """A model by its name at an upstream."""

    model: str
    upstream: str
    base_url: str = ""
    """Empty: the upstream no longer exists."""
    region: str = ""
    """The region that its profile states, where prices differ."""
    is_unpriced: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class UsedUpstream:
    """What is known of an upstream whose models are priced."""

    base_url: str = ""
    region: str = ""


UNKNOWN = UsedUpstream()


def used_models(targets: Iterable[tuple[str, str]], *, upstreams: Mapping[str, UsedUpstream]) -> list[UsedModel]:
    """Return the models in use, unpriced ones first. Targets are pairs of an upstream and a model."""
    unpriced = [(each.upstream, each.model) for each in unpriced_models()]
    recent = list(recent_records().order_by().values_list("upstream", "upstream_model", "served_model").distinct())
    # A request is priced by the served model, or by the upstream model where that one has no price.
    served = [(upstream, model) for upstream, *names in recent for model in names]
    found = dict.fromkeys([*unpriced, *targets, *served])
    return [
        UsedModel(
            model=model,
            upstream=upstream,
            base_url=upstreams.get(upstream, UNKNOWN).base_url,
            region=upstreams.get(upstream, UNKNOWN).region,
            is_unpriced=(upstream, model) in unpriced,
        )
        for upstream, model in found
        if upstream and model
    ]


def recent_records() -> QuerySet[UsageRecord]:
    """Return the latest requests of the last 30 days, at most MAX_RECORDS. Without those in flight."""
    latest = UsageRecord.objects.order_by("-id").values_list("id", flat=True)
    found = UsageRecord.objects.filter(created_at__gte=timezone.now() - RECENT).exclude(settled_at=None)
    # An ID at a position of the primary key's index, because a limit would not combine with DISTINCT and filters.
    for bound in latest[MAX_RECORDS : MAX_RECORDS + 1]:
        found = found.filter(id__gt=bound)
    return found
