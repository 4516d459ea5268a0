"""Results of questions: totals, rows by group and series by bucket, each with the period before."""

import operator
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils import timezone

from keys.explore import buckets, dimensions, figures, intervals, links, sources
from keys.explore.figures import COLUMNS, NOTHING, Figures
from keys.explore.intervals import Interval
from keys.explore.measures import DURATION, MEASURES, TTFT, UsageMeasure
from keys.explore.question import Question
from keys.explore.sources import SourcePart
from keys.usage import retention
from lib.consistent_reads import consistent_reads
from lib.query_limit import limited

SHOWN = 50
"""Rows of the table. Further groups are in the row of all others."""
IN_CHART = 7
FEW = frozenset(("team", "model", "upstream", "upstream_model", "api_format", "outcome", "error_type", "usage_source"))
"""Dimensions of few values: their rows are read together with the buckets."""
MOST_OF_FEW = 100
"""Buckets up to which that is faster than three queries."""
Stored = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerRow:
    """A row of the table: one value of each group, or all other requests."""

    values: tuple[str, ...]
    """As in URLs. Empty for all others."""
    labels: tuple[str, ...]
    figures: Figures
    before: Figures | None
    """Of the period before; None without a comparison."""
    series: list[Figures]
    """The measure's figures in each bucket. Empty where they were not asked for."""
    is_others: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What the usage page shows of a question, and what exports contain."""

    question: Question
    bucket: str
    as_of: datetime
    interval_before: Interval | None
    total: Figures
    total_before: Figures | None
    rows: list[AnswerRow]
    """In the order of the question. The last one may be that of all others."""
    begins: list[datetime]
    """When each bucket begins."""
    series: list[Figures]
    """All figures in each bucket; histograms of the measure only."""
    is_from_records: bool
    records_begin: datetime | None = None
    """Records before it are purged. None: none were."""

    @property
    def measure(self) -> UsageMeasure:
        return MEASURES[self.question.measure]

    def bucket_interval(self, number: int) -> Interval:
        ends = [*self.begins[1:], self.question.interval.end]
        return Interval(begin=self.begins[number], end=ends[number])

    def records_url(
        self, row: AnswerRow | None = None, *, measure: str = "", number: int | None = None, before: bool = False
    ) -> str:
        """Return the URL of the records behind a figure: of a row or the total, of a bucket or all, now or before."""
        question = self.question
        interval = question.interval if number is None else self.bucket_interval(number)
        if before and self.interval_before:
            interval = self.interval_before
        if not links.has_records(interval, self.records_begin):
            return ""
        values: dict[str, str] = {}
        if row is not None and row.is_others:
            if len(question.groups) != 1:
                return ""
            question = question.excluding(question.groups[0], [each.values[0] for each in self.rows if each.values])
        elif row is not None:
            values = dict(zip(question.groups, row.values, strict=True))
        filters = links.filters_query(question, measure=measure, **values)
        return "" if filters is None else links.joined(links.interval_query(interval), filters)


def answer(question: Question, *, charted_only: bool = False) -> Answer:
    """Read the figures of a question. Raise QueryTimeout where that takes too long.

    `charted_only`: of a percentile, read the series of the rows with the most requests only, as many as a chart shows.
    Histograms by group and bucket are the most rows that a question reads.
    """
    with limited(), consistent_reads():
        return _Reading(question, timezone.now(), charted_only=charted_only).answer()


class _Reading:
    """The queries of one question."""

    def __init__(self, question: Question, now: datetime, *, charted_only: bool) -> None:
        self.question = question
        self.charted_only = charted_only
        self.now = now
        self.measure = MEASURES[question.measure]
        self.bucket = buckets.fitted(question.bucket, question.interval)
        self.begins = buckets.begins(self.bucket, question.interval)
        self.before = intervals.before(question.interval, now) if question.compare else None
        self._cube: dict[Stored, list[int]] | None = None
        """The sums by bucket and by groups, if they were read together."""
        self._known_parts: dict[tuple[Interval, str], list[SourcePart]] = {}
        self.from_records = sources.needs_records(question, self.bucket)
        self.records_begin = retention.records_begin()

    def answer(self) -> Answer:
        series = self._parts(self.question.interval, self.bucket)
        sums = self._by_bucket(series)
        by_bucket = self._with_histograms(series, _figures(sums), bounded=True)
        total = self._total(self._parts(self.question.interval), _added(sums.values()))
        total_before = None
        if self.before:
            parts = self._parts(self.before)
            total_before = self._total(parts, _added(sources.sums(parts, COLUMNS).values()))
        return Answer(
            question=self.question,
            bucket=self.bucket,
            as_of=self.now,
            interval_before=self.before,
            total=total,
            total_before=total_before,
            rows=self._rows(series, total, total_before, by_bucket) if self.question.groups else [],
            begins=self.begins,
            series=[by_bucket.get((number,), NOTHING) for number in range(len(self.begins))],
            is_from_records=self.from_records,
            records_begin=self.records_begin,
        )

    def _by_bucket(self, parts: list[SourcePart]) -> dict[Stored, list[int]]:
        """Return the sums of each bucket. Where groups are few, one query reads the rows of the table too."""
        groups = self.question.groups
        if not groups or not FEW.issuperset(groups) or len(self.begins) > MOST_OF_FEW:
            return sources.sums(parts, COLUMNS, bounds=self.begins)
        self._cube = sources.sums(parts, COLUMNS, groups=groups, bounds=self.begins)
        return _merged(self._cube, slice(1))

    def _parts(self, interval: Interval, bucket: str = "") -> list[SourcePart]:
        """Return the parts of an interval. Those that are read again take no further query."""
        found = self._known_parts.get((interval, bucket))
        if found is None:
            covered = interval if self.from_records else sources.of_whole_hours(interval, self.records_begin)
            found = sources.parts(self.question, covered, from_records=self.from_records, bucket=bucket)
            self._known_parts[interval, bucket] = found
        return found

    def _total(self, parts: list[SourcePart], sums: list[int]) -> Figures:
        found = sources.histograms(parts, (DURATION, TTFT))
        return figures.from_columns(COLUMNS, sums).with_histograms(next(iter(found.values()), {}))

    def _with_histograms(
        self,
        parts: list[SourcePart],
        by_subject: dict[Stored, Figures],
        *,
        grouped: bool = False,
        bounded: bool = False,
    ) -> dict[Stored, Figures]:
        """Add the histograms of the measure, if it needs them."""
        name = self.measure.latency
        if not name:
            return by_subject
        groups = self.question.groups if grouped else ()
        found = sources.histograms(parts, (name,), groups=groups, bounds=self.begins if bounded else ())
        return {subject: each.with_histograms(found.get(subject, {})) for subject, each in by_subject.items()}

    # ---- rows

    def _rows(
        self, parts: list[SourcePart], total: Figures, total_before: Figures | None, by_bucket: dict[Stored, Figures]
    ) -> list[AnswerRow]:
        groups = self.question.groups
        whole = self._parts(self.question.interval)
        sums = self._top(whole)
        only = self._values(sums)
        now = self._with_histograms([part.narrowed(only) for part in whole], _figures(sums), grouped=True)
        charted = self._charted(now)
        top = [part.narrowed(self._values(charted)) for part in parts]
        series = self._with_histograms(top, self._series(top, charted), grouped=True, bounded=True)
        earlier: dict[Stored, Figures] = {}
        if self.before:
            top = [part.narrowed(only) for part in self._parts(self.before)]
            columns = self.measure.columns or ("completed",)
            found = sources.sums(top, columns, groups=groups)
            earlier = self._with_histograms(top, _figures(found, columns), grouped=True)
        rows = self._labeled(now, earlier, {subject: self._of_buckets(series, subject) for subject in charted})
        rows.sort(key=self._order(), reverse=self._is_descending())
        return [*rows, *self._others(rows, total, total_before, by_bucket)]

    def _values(self, subjects: Collection[Stored]) -> dict[str, list[Any]]:
        """Return the stored values of each group."""
        return {name: list({each[place] for each in subjects}) for place, name in enumerate(self.question.groups)}

    def _charted(self, now: Mapping[Stored, Figures]) -> set[Stored]:
        """Return the groups whose series are read."""
        if not self.charted_only or not self.measure.latency:
            return set(now)
        return set(sorted(now, key=lambda subject: now[subject].totals.requests, reverse=True)[:IN_CHART])

    def _of_buckets(self, series: Mapping[Stored, Figures], subject: Stored) -> list[Figures]:
        return [series.get((number, *subject), NOTHING) for number in range(len(self.begins))]

    def _series(self, parts: list[SourcePart], top: Collection[Stored]) -> dict[Stored, Figures]:
        if self._cube is not None:
            return _figures({subject: sums for subject, sums in self._cube.items() if subject[1:] in top})
        columns = self.measure.columns or ("completed",)
        return _figures(sources.sums(parts, columns, groups=self.question.groups, bounds=self.begins), columns)

    def _top(self, parts: list[SourcePart]) -> dict[Stored, list[int]]:
        """Return the sums of the groups that come first in the question's order."""
        name = self.question.sort.removeprefix("-")
        by = MEASURES.get(name, self.measure)
        is_descending = self._is_descending() or name not in MEASURES
        if not by.is_sum:
            by, is_descending = MEASURES["requests"], True
        columns = [each for each in by.columns if by.unit != "usd" or each.endswith("_micros")]
        places = [COLUMNS.index(each) for each in columns]
        most = (columns, is_descending, SHOWN)
        if self._cube is not None:
            found = _merged(self._cube, slice(1, None))
        else:
            found = sources.sums(parts, COLUMNS, groups=self.question.groups, most=most)
        if len(found) <= SHOWN:
            return found
        first = sorted(
            found,
            key=lambda subject: (sum(found[subject][place] for place in places), repr(subject)),
            reverse=is_descending,
        )
        return {subject: found[subject] for subject in first[:SHOWN]}

    def _is_descending(self) -> bool:
        return not self.question.sort or self.question.sort.startswith("-")

    def _order(self) -> Any:
        name = self.question.sort.removeprefix("-")
        if name in ("name", "name2"):
            place = min(len(self.question.groups) - 1, int(name == "name2"))
            return lambda row: (row.labels[place].casefold(), row.labels)
        if name == "change":
            value = self.measure.value
            return lambda row: (_number(value(row.figures)) - _number(value(row.before or NOTHING)), row.labels)
        value = MEASURES.get(name, self.measure).value
        return lambda row: (_number(value(row.figures)), row.labels)

    def _labeled(
        self, now: Mapping[Stored, Figures], earlier: Mapping[Stored, Figures], series: Mapping[Stored, list[Figures]]
    ) -> list[AnswerRow]:
        texts, labels = [], []
        for place, name in enumerate(self.question.groups):
            dimension = dimensions.known(name)
            texts.append(dimension.texts({subject[place] for subject in now}))
            labels.append(dimension.labels(list(texts[-1].values()), self.question.teams))
        rows = []
        for subject, each in now.items():
            values = tuple(texts[place][stored] for place, stored in enumerate(subject))
            rows.append(
                AnswerRow(
                    values=values,
                    labels=tuple(labels[place][value] for place, value in enumerate(values)),
                    figures=each,
                    before=earlier.get(subject, NOTHING) if self.before else None,
                    series=series.get(subject, []),
                )
            )
        return rows

    def _others(
        self, rows: list[AnswerRow], total: Figures, total_before: Figures | None, by_bucket: dict[Stored, Figures]
    ) -> list[AnswerRow]:
        rest = remaining(total, (row.figures for row in rows), self.measure)
        rest_before = total_before and remaining(total_before, (row.before or NOTHING for row in rows), self.measure)
        if rest.totals == NOTHING.totals and (not rest_before or not self.measure.value(rest_before)):
            return []
        series = [
            remaining(by_bucket.get((number,), NOTHING), (row.series[number] for row in rows), self.measure)
            for number in range(len(self.begins) if all(row.series for row in rows) else 0)
        ]
        return [
            AnswerRow(
                values=(), labels=("All others",), figures=rest, before=rest_before, series=series, is_others=True
            )
        ]


def remaining(whole: Figures, parts: Iterable[Figures], measure: UsageMeasure) -> Figures:
    """Return the figures of a whole without some of its parts. Of histograms, only the measure's."""
    for part in parts:
        whole = Figures(
            totals=whole.totals - part.totals,
            cache_savings_picos=whole.cache_savings_picos - part.cache_savings_picos,
            requests_with_latency=whole.requests_with_latency - part.requests_with_latency,
            duration_ms=whole.duration_ms - part.duration_ms,
            duration=whole.duration - part.duration if measure.latency == DURATION else whole.duration,
            ttft=whole.ttft - part.ttft if measure.latency == TTFT else whole.ttft,
        )
    return whole


def _merged(sums: Mapping[Stored, list[int]], kept: slice) -> dict[Stored, list[int]]:
    """Add up sums by a part of their subjects."""
    found: dict[Stored, list[int]] = {}
    for subject, values in sums.items():
        known = found.get(subject[kept])
        found[subject[kept]] = values if known is None else list(map(operator.add, known, values))
    return found


def _figures(sums: Mapping[Stored, list[int]], columns: Sequence[str] = COLUMNS) -> dict[Stored, Figures]:
    return {subject: figures.from_columns(columns, values) for subject, values in sums.items()}


def _added(found: Iterable[list[int]]) -> list[int]:
    return [sum(values) for values in zip(*found, strict=True)] or [0] * len(COLUMNS)


def _number(value: float | None) -> float:
    return -1.0 if value is None else value
