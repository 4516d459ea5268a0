"""Figures of sets of requests: totals, cache savings and latency histograms, and their columns in the database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from django.db.models import Count, F, Q, QuerySet, Sum

from keys.models import UsageRecord
from keys.models.usage import part_names, parts_of
from keys.reports import totals
from keys.reports.histograms import Histogram
from keys.reports.totals import Totals
from lib import money

SAVINGS_PARTS = ("cache_savings_micros", "cache_savings_rest")
_OF_HOURS: dict[str, Any] = {
    **dict(zip(SAVINGS_PARTS, (Sum(name, default=0) for name in part_names("cache_savings_usd_picos")), strict=True)),
    "requests_with_latency": Sum("requests_with_latency", default=0),
    "duration_ms": Sum("duration_ms", default=0),
}
_OF_RECORDS: dict[str, Any] = {
    **dict(
        zip(
            SAVINGS_PARTS,
            (Sum(part, default=0) for part in parts_of("cache_savings_usd_picos").values()),
            strict=True,
        )
    ),
    "requests_with_latency": Count("pk", filter=Q(duration_ms__isnull=False)),
    "duration_ms": Sum("duration_ms", default=0),
}
COLUMNS = (*totals.COLUMNS, *_OF_HOURS)
"""The columns that figures are read from, besides histograms."""


NO_TOTALS = Totals()
EMPTY = Histogram()


def _empty() -> Histogram:
    return EMPTY


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """What questions ask for of a set of requests."""

    totals: Totals = NO_TOTALS
    cache_savings_picos: int = 0
    requests_with_latency: int = 0
    duration_ms: int = 0
    """The latency of these requests, added up."""
    duration: Histogram = field(default_factory=_empty)
    ttft: Histogram = field(default_factory=_empty)

    def with_histograms(self, by_name: Mapping[str, Histogram]) -> "Figures":
        """Return the figures with histograms by column of usage records; the others are empty."""
        return replace(self, duration=by_name.get("duration_ms", EMPTY), ttft=by_name.get("ttft_ms", EMPTY))


NOTHING = Figures()
"""The figures of no request."""


def from_columns(names: Sequence[str], values: Sequence[int]) -> Figures:
    """Return the figures of some of the columns. The others are 0."""
    found = dict(zip(names, values, strict=True))
    savings = money.join(*(found.pop(name, 0) for name in SAVINGS_PARTS))
    cost = money.join(*(found.pop(name, 0) for name in totals.COST_PARTS))
    timed, duration_ms = (found.pop(name, 0) for name in ("requests_with_latency", "duration_ms"))
    return Figures(
        totals=Totals(**found, cost_picos=cost),
        cache_savings_picos=savings,
        requests_with_latency=timed,
        duration_ms=duration_ms,
    )


def grouped(rows: QuerySet[Any], names: Sequence[str], **subject: Any) -> Any:
    """Return rows of values from a table of rollups or usage records: the subject's expressions, then the columns."""
    is_records = rows.model is UsageRecord
    expressions = totals.expressions(rows.model) | (_OF_RECORDS if is_records else _OF_HOURS)
    # Not the names themselves: Django would take those of columns for the aggregates.
    columns = {f"{name}_sum": expressions[name] for name in names}
    by = {name: F(each) if isinstance(each, str) else each for name, each in subject.items()}
    return rows.annotate(**by).values(*subject).annotate(**columns).values_list(*subject, *columns)
