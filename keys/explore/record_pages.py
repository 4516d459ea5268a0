"""
Pages of the explorer: the records that match, newest first, in a bounded time whatever the table's size.

A page begins at a cursor. Which records it reads depends on what the filters can use:
- No filter, or one that an index serves: the index has the rows in order.
- Filters that hourly rollups have: they list the hours with matches, and the page reads only these.
- Other filters: a page compares `SCANNED` records at most, and says how far it has searched.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from operator import or_
from typing import Any

from django.db.models import Q, QuerySet, Sum

from keys.explore import dimensions, records
from keys.explore.question import Filter, Question
from keys.explore.record_filters import RecordFilters
from keys.models import HourlyUsage, UsageRecord

SCANNED = 25_000
"""Records that a page compares: some 50 ms on PostgreSQL."""
INDEXED = frozenset({"key"})
"""Dimensions with an index of their own and the time."""
_HOUR = timedelta(hours=1)
LAST_ID = "~"
"""After all request IDs."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page begins: between two records. Records may share a time."""

    time: datetime
    id: str

    # The first comparison is redundant, but it is the one that the index serves.
    @property
    def older(self) -> Q:
        return Q(created_at__lte=self.time) & (Q(created_at__lt=self.time) | Q(pk__lt=self.id))

    @property
    def newer(self) -> Q:
        return Q(created_at__gte=self.time) & (Q(created_at__gt=self.time) | Q(pk__gt=self.id))


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordPage:
    """One page, newest first."""

    rows: list[UsageRecord]
    older: Position | None = None
    """Where the next page begins. None: there is none."""
    newer: Position | None = None
    searched_to: datetime | None = None
    """Where the search ended before the page was full; None if the page is complete."""


def listed(
    question: Question, filters: RecordFilters, rows: QuerySet[UsageRecord] | None = None
) -> QuerySet[UsageRecord]:
    """Return the records that the explorer lists, in no order: of all records, or of some."""
    if rows is None:
        return filters.applied(records.matching(question))
    interval = question.interval
    rows = rows.filter(created_at__gte=interval.begin, created_at__lt=interval.end)
    return filters.applied(rows.filter(records.conditions(question, UsageRecord))).order_by()


def by_request_id(question: Question, id: str, rows: QuerySet[UsageRecord]) -> QuerySet[UsageRecord]:
    """Return the record with a request ID, at any time and in the scope of the question."""
    found = rows.filter(pk=id)
    return found if question.teams is None else found.filter(team_id__in=question.teams)


def indexed_part(question: Question) -> QuerySet[UsageRecord]:
    """Return the records that an index finds in the order of time: those of the range and of the best filter."""
    chosen = [each for each in question.filters if _is_indexed(each)][:1]
    narrowed = Question(interval=question.interval, filters=tuple(chosen))
    return records.matching(narrowed)


def _is_indexed(each: Filter) -> bool:
    return each.dimension in INDEXED and len(each.values) == 1 and bool(each.values[0]) and not each.is_excluded


def is_ordered(question: Question, filters: RecordFilters) -> bool:
    """Return whether an index has all matching records in the order of time."""
    others = [each for each in question.filters if not _is_indexed(each)]
    return filters.is_empty and question.teams is None and not others and len(question.filters) <= 1


def is_of_rollups(question: Question, filters: RecordFilters) -> bool:
    """Return whether hourly rollups have all filters."""
    return filters.is_empty and all(dimensions.known(each.dimension).of_hours is not None for each in question.filters)


class RecordPages:
    """The pages of one question and its filters."""

    def __init__(self, question: Question, filters: RecordFilters, rows: QuerySet[UsageRecord], *, size: int) -> None:
        """`rows` are those of `listed`, with whatever the page shows of each."""
        self._question = question
        self._filters = filters
        self._rows = rows
        self._size = size

    def older_than(self, position: Position | None) -> RecordPage:
        """Return the newest records before a position; of all, without one."""
        before = position.older if position else Q()
        window, edge = self._window(position, is_newer=False)
        found = self._read(self._rows.filter(before).filter(window).order_by("-created_at", "-pk"))
        is_more = len(found) > self._size
        rows = found[: self._size]
        if is_more:
            older: Position | None = _at(rows[-1])
        else:
            older = Position(edge, "") if edge else None
        newer = None if position is None else _at(rows[0]) if rows else Position(position.time, "")
        return RecordPage(rows=rows, older=older, newer=newer, searched_to=None if is_more else edge)

    def newer_than(self, position: Position) -> RecordPage:
        """Return the oldest records after a position, newest first."""
        window, edge = self._window(position, is_newer=True)
        found = self._read(self._rows.filter(position.newer).filter(window).order_by("created_at", "pk"))
        is_more = len(found) > self._size
        rows = found[: self._size][::-1]
        if is_more:
            newer: Position | None = _at(rows[0])
        else:
            newer = Position(edge, LAST_ID) if edge else None
        older = _at(rows[-1]) if rows else Position(position.time, LAST_ID)
        return RecordPage(rows=rows, older=older, newer=newer, searched_to=None if is_more else edge)

    def _read(self, rows: QuerySet[UsageRecord]) -> list[UsageRecord]:
        return list(rows[: self._size + 1])

    def _window(self, position: Position | None, *, is_newer: bool) -> tuple[Q, datetime | None]:
        """Return the condition of the records that a page reads, and where they end before the range does."""
        if is_ordered(self._question, self._filters):
            return Q(), None
        if is_of_rollups(self._question, self._filters):
            return self._hours_with_matches(position, is_newer=is_newer), None
        rows = indexed_part(self._question)
        if position is not None:
            rows = rows.filter(position.newer if is_newer else position.older)
        edge = scan_edge(rows, is_newer=is_newer)
        if edge is None:
            return Q(), None
        return (Q(created_at__lte=edge), edge) if is_newer else (Q(created_at__gte=edge), edge)

    def _hours_with_matches(self, position: Position | None, *, is_newer: bool) -> Q:
        """Return the condition of the next hours that have enough matches, and of requests in flight."""
        interval = self._question.interval
        hours = HourlyUsage.objects.filter(hour__gt=interval.begin - _HOUR, hour__lt=interval.end)
        if position is not None:
            is_beyond = Q(hour__gt=position.time - _HOUR) if is_newer else Q(hour__lte=position.time)
            hours = hours.filter(is_beyond)
        counted = hours.filter(records.conditions(self._question, HourlyUsage)).values("hour")
        counted = counted.annotate(found=Sum("requests")).filter(found__gt=0)
        chosen: list[datetime] = []
        matches = 0
        for hour, found in counted.order_by("hour" if is_newer else "-hour").values_list("hour", "found")[
            : self._size + 2
        ]:
            matches += found if chosen else 0  # those of the first hour may lie before the position
            chosen.append(hour)
            if matches > self._size:
                break
        is_within = [Q(created_at__gte=begin, created_at__lt=end) for begin, end in _joined(chosen)]
        return reduce(or_, is_within, Q(settled_at=None))


def scan_edge(rows: QuerySet[UsageRecord], *, is_newer: bool) -> datetime | None:
    """Return the time of the last record that a page compares; None if it compares all of these rows."""
    times = rows.order_by("created_at" if is_newer else "-created_at").values_list("created_at", flat=True)
    return next(iter(times[SCANNED : SCANNED + 1]), None)


def _joined(hours: Sequence[datetime]) -> list[tuple[datetime, datetime]]:
    """Return the intervals of hours; those that follow each other are one."""
    found: list[tuple[datetime, datetime]] = []
    for hour in sorted(hours):
        if found and hour <= found[-1][1]:
            found[-1] = (found[-1][0], hour + _HOUR)
        else:
            found.append((hour, hour + _HOUR))
    return found


def _at(row: Any) -> Position:
    return Position(row.created_at, row.pk)
