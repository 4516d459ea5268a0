"""
Choice of the rollups that are read for an interval: months, days or hours, each from the coarsest complete table.

The parts of an interval are disjoint: added up, they are what the hourly rollups of the interval are.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Model, QuerySet
from django.utils import timezone

from keys.models import (
    BuiltPeriod,
    DailyKeyLatency,
    DailyLatency,
    DailyModelLatency,
    DailyUsage,
    HourlyLatency,
    HourlyUsage,
    MonthlyKeyLatency,
    MonthlyLatency,
    MonthlyModelLatency,
    MonthlyUsage,
)
from keys.models.rollups import KeyLatency, ModelLatency, Rollup
from lib import periods

Tier = BuiltPeriod.Tier

TIERS: dict[str, tuple[str, ...]] = {
    "": (Tier.MONTH, Tier.DAY),
    "month": (Tier.MONTH, Tier.DAY),
    "week": (Tier.DAY,),
    "day": (Tier.DAY,),
}
"""The tiers that may be read for a bucket. Hours are read for all others. Empty: totals alone."""
_TABLES: dict[str, tuple[type[Rollup], str]] = {
    Tier.MONTH: (MonthlyUsage, "month"),
    Tier.DAY: (DailyUsage, "day"),
    "": (HourlyUsage, "hour"),
}
_LATENCIES: dict[type[Rollup], tuple[type[Model], str]] = {
    HourlyUsage: (HourlyLatency, "hourly_usage"),
    DailyUsage: (DailyLatency, "daily_usage"),
    MonthlyUsage: (MonthlyLatency, "monthly_usage"),
}
_WITHOUT_SOME: dict[type[Rollup], tuple[type[ModelLatency], type[KeyLatency]]] = {
    DailyUsage: (DailyModelLatency, DailyKeyLatency),
    MonthlyUsage: (MonthlyModelLatency, MonthlyKeyLatency),
}
"""The histograms without the dimensions of the client, and those of the client alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LatencyRows:
    """Rows of histograms: `measure`, `bucket`, `requests`, and dimensions."""

    rows: QuerySet[Any]
    prefix: str
    """What the names of dimensions begin with: empty, or the path to the rollup."""
    column: str
    """The path to the beginning of the period."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TierPart:
    """A part of an interval, read from one table of rollups."""

    model: type[Rollup]
    column: str
    """The column with the beginning of a rollup's period."""
    begin: datetime
    end: datetime

    @property
    def rows(self) -> QuerySet[Any]:
        """Return the rollups of the part."""
        return self.model._default_manager.filter(**self._within(self.column)).order_by()

    def latencies(self, dimensions: Collection[str]) -> LatencyRows:
        """Return the histograms of the part from the smallest table that has these dimensions (columns of rollups)."""
        for model in _WITHOUT_SOME.get(self.model, ()):
            if {*dimensions} <= {each.attname for each in model._meta.concrete_fields}:
                smaller: QuerySet[Any] = model._default_manager.filter(**self._within(self.column)).order_by()
                return LatencyRows(rows=smaller, prefix="", column=self.column)
        latency, rollup = _LATENCIES[self.model]
        column = f"{rollup}__{self.column}"
        rows = latency._default_manager.filter(**self._within(column)).order_by()
        return LatencyRows(rows=rows, prefix=f"{rollup}__", column=column)

    def _within(self, column: str) -> dict[str, datetime]:
        return {f"{column}__gte": self.begin, f"{column}__lt": self.end}


def parts(begin: datetime, end: datetime, *, bucket: str = "") -> list[TierPart]:
    """Split a half-open interval into disjoint parts, each with the coarsest table that the bucket allows. One query.

    The bucket is that of a series: `month`, `week` or `day`, something shorter, or empty for totals alone.
    """
    found: list[TierPart] = []
    is_own_zone = not bucket or str(periods.zone()) == timezone.get_default_timezone_name()
    for tier, first, last in _spans(begin, end, TIERS.get(bucket, ()) if is_own_zone else ()):
        model, column = _TABLES[tier]
        if found and found[-1].model is model:
            found[-1] = TierPart(model=model, column=column, begin=found[-1].begin, end=last)
        else:
            found.append(TierPart(model=model, column=column, begin=first, end=last))
    return found


def _spans(begin: datetime, end: datetime, tiers: tuple[str, ...]) -> Iterator[tuple[str, datetime, datetime]]:
    """Yield the parts in order, adjacent ones of the same table apart."""
    ends: dict[str, dict[datetime, datetime]] = {tier: {} for tier in Tier.values}
    for row in BuiltPeriod.objects.filter(begin__gte=begin, begin__lt=end, is_complete=True).order_by():
        if row.tier in tiers and row.end <= end:
            ends[row.tier][row.begin] = row.end
    begins = sorted({each for of_tier in ends.values() for each in of_tier})
    moment = begin
    while moment < end:
        tier = next((tier for tier in (Tier.MONTH, Tier.DAY) if moment in ends[tier]), "")
        if tier:
            last = ends[tier][moment]
        else:
            position = bisect_right(begins, moment)
            last = begins[position] if position < len(begins) else end
        yield tier, moment, last
        moment = last
