"""Sources of figures: which rows of which tables a question is read from, so that each request is counted once."""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from django.db.models import CharField, Count, F, IntegerField, Q, QuerySet, Sum, Value
from django.db.models.lookups import In

from keys.domain.latency_buckets import LAST_VALUES
from keys.explore import dimensions, records
from keys.explore.bisection import IndexOf
from keys.explore.buckets import BELOW_AN_HOUR, next_hour, whole_hours
from keys.explore.figures import grouped
from keys.explore.intervals import Interval
from keys.explore.question import Question
from keys.models import UsageRecord
from keys.reports import tiers, totals
from keys.reports.histograms import Histogram
from keys.reports.tiers import TierPart
from lib import periods

TEAM_COLUMN = "team_id"


@dataclass(frozen=True, kw_only=True, slots=True)
class SourcePart:
    """A part of what a question counts: rollups of one table, or usage records."""

    question: Question
    tier: TierPart | None = None
    """None: usage records."""
    unfiltered: QuerySet[Any]
    only: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Stored values of groups that it is narrowed to, by dimension."""

    @property
    def model(self) -> type[Any]:
        return self.tier.model if self.tier else UsageRecord

    @property
    def moment(self) -> str:
        """The column of time."""
        return self.tier.column if self.tier else "created_at"

    def rows(self) -> QuerySet[Any]:
        return self.unfiltered.filter(self.condition())

    def condition(self, prefix: str = "") -> Q:
        found = records.conditions(self.question, self.model, prefix)
        for name, stored in self.only.items():
            expression = dimensions.known(name).expression(self.model)
            found &= Q(In(F(f"{prefix}{expression.name}") if prefix else expression, stored))
        return found

    def narrowed(self, only: Mapping[str, Sequence[Any]]) -> "SourcePart":
        """Return the part of some values of groups. Of two groups, all combinations of the values are in it."""
        return replace(self, only=only)


def needs_records(question: Question, bucket: str) -> bool:
    """Return whether the rollups lack a dimension or a bucket of the question."""
    return bucket in BELOW_AN_HOUR or any(dimensions.known(name).of_hours is None for name in _names(question))


def _names(question: Question) -> list[str]:
    return [*question.groups, *(each.dimension for each in question.filters)]


def parts(question: Question, interval: Interval, *, from_records: bool, bucket: str = "") -> list[SourcePart]:
    """Return disjoint parts that have each request of an interval once.

    Rollups have whole hours of settled requests; those of days and months are read where the bucket of a series allows
    it, or without one. Hours that the interval divides, and requests in flight, are read from records.
    """
    hours = None if from_records else whole_hours(interval)
    if hours is None:
        return [_records(question, interval)]
    edges = [
        Interval(begin=interval.begin, end=hours.begin),
        Interval(begin=hours.end, end=interval.end),
    ]
    return [
        *(
            SourcePart(question=question, tier=each, unfiltered=each.rows)
            for each in tiers.parts(hours.begin, hours.end, bucket=bucket)
        ),
        SourcePart(question=question, unfiltered=totals.in_flight(hours.begin, hours.end)),
        *(_records(question, edge) for edge in edges if edge.begin < edge.end),
    ]


def of_whole_hours(interval: Interval, records_begin: datetime | None) -> Interval:
    """Return an interval that divides no hour whose records are purged: rollups have it as a whole only."""
    begin, end = interval.begin, interval.end
    if records_begin is None or begin >= records_begin:
        return interval
    hour = periods.begin_of_hour(end)
    return Interval(begin=periods.begin_of_hour(begin), end=next_hour(end) if hour < end < records_begin else end)


def _records(question: Question, interval: Interval) -> SourcePart:
    rows = UsageRecord.objects.filter(created_at__gte=interval.begin, created_at__lt=interval.end).order_by()
    return SourcePart(question=question, unfiltered=rows)


def sums(
    found: Sequence[SourcePart],
    columns: Sequence[str],
    *,
    groups: Sequence[str] = (),
    bounds: Sequence[Any] = (),
    most: tuple[Sequence[str], bool, int] | None = None,
) -> dict[tuple[Any, ...], list[int]]:
    """Add up columns by bucket, if there are bounds, and by groups. One query.

    `most` limits what is read from a single part: the columns whose sum orders the groups, whether the largest are
    first, and how many are read.
    """
    united, *others = (grouped(part.rows(), columns, **_subject(part, groups, bounds)) for part in found)
    if most and not others:
        names, is_descending, limit = most
        order = sum((F(f"{name}_sum") for name in names[1:]), start=F(f"{names[0]}_sum"))
        rows = united.order_by(order.desc() if is_descending else order.asc(), "group0")[:limit]
    else:
        rows = united.union(*others, all=True) if others else united
    size = max(1, len(groups) + bool(bounds))
    sums_by: dict[tuple[Any, ...], list[int]] = {}
    for row in rows:
        subject, values = row[:size], row[size:]
        known = sums_by.get(subject)
        sums_by[subject] = list(values) if known is None else list(map(operator.add, known, values))
    return sums_by


def _subject(part: SourcePart, groups: Sequence[str], bounds: Sequence[Any]) -> dict[str, Any]:
    subject: dict[str, Any] = {"in_bucket": IndexOf(part.moment, bounds)} if bounds else {}
    for number, name in enumerate(groups):
        subject[f"group{number}"] = dimensions.known(name).expression(part.model)
    return subject or {"all": Value(0, output_field=IntegerField())}


# ---- latency histograms

_FIRST_VALUES = [0, *(last + 1 for last in LAST_VALUES[:-1])]
"""The first value of each bucket of the histograms."""


def histograms(
    found: Sequence[SourcePart],
    measures: Sequence[str],
    *,
    groups: Sequence[str] = (),
    bounds: Sequence[Any] = (),
) -> dict[tuple[Any, ...], dict[str, Histogram]]:
    """Merge histograms by bucket, if there are bounds, and by groups. One query."""
    united, *others = (
        query
        for part in found
        for query in (
            [_of_rollups(part, part.tier, measures, groups, bounds)]
            if part.tier
            else [_of_records(part, name, groups, bounds) for name in measures]
        )
    )
    size = max(1, len(groups) + bool(bounds))
    counts: dict[tuple[Any, ...], dict[str, list[tuple[int, int]]]] = {}
    for row in united.union(*others, all=True) if others else united:
        name, number, requests = row[size:]
        counts.setdefault(row[:size], {}).setdefault(name, []).append((number, requests))
    return {subject: {name: Histogram(pairs) for name, pairs in by_name.items()} for subject, by_name in counts.items()}


def _of_rollups(
    part: SourcePart, tier: TierPart, measures: Sequence[str], groups: Sequence[str], bounds: Sequence[Any]
) -> Any:
    used = {dimensions.known(name).of_hours.name for name in [*groups, *part.only, *_filtered(part.question)]}
    scope = set() if part.question.teams is None else {TEAM_COLUMN}
    latencies = tier.latencies(used | scope)
    rows = latencies.rows.filter(part.condition(latencies.prefix), measure__in=measures)
    subject: dict[str, Any] = {"in_bucket": IndexOf(latencies.column, bounds)} if bounds else {}
    for number, name in enumerate(groups):
        subject[f"group{number}"] = F(f"{latencies.prefix}{dimensions.known(name).of_hours.name}")
    subject = subject or {"all": Value(0, output_field=IntegerField())}
    rows = rows.annotate(**subject, name=F("measure"), number=F("bucket")).values(*subject, "name", "number")
    return rows.annotate(total=Sum("requests")).values_list(*subject, "name", "number", "total")


def _filtered(question: Question) -> list[str]:
    return [each.dimension for each in question.filters]


def _of_records(part: SourcePart, measure: str, groups: Sequence[str], bounds: Sequence[Any]) -> Any:
    subject = _subject(part, groups, bounds)
    names = {"name": Value(measure, output_field=CharField()), "number": IndexOf(measure, _FIRST_VALUES)}
    rows = part.rows().filter(**{f"{measure}__isnull": False}).annotate(**subject, **names)
    rows = rows.values(*subject, "name", "number").annotate(total=Count("pk"))
    return rows.values_list(*subject, "name", "number", "total")
