"""Results of questions: totals, rows by group and series by bucket, each with the period before."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils import timezone

from keys.explore import buckets, dimensions, figures, intervals, sources
from keys.explore.figures import COLUMNS, NOTHING, Figures
from keys.explore.intervals import Interval
from keys.explore.links import records_url
from keys.explore.measures import DURATION, MEASURES, TTFT, UsageMeasure
from keys.explore.question import Question
from keys.explore.sources import SourcePart
from lib.consistent_reads import consistent_reads
from lib.query_limit import limited

SHOWN = 50
"""Rows of the table. Further groups are in the row of all others."""
IN_CHART = 7
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
    """The measure's figures in each bucket."""
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
        interval = self.interval_before if before else None if number is None else self.bucket_interval(number)
        question = self.question
        values: dict[str, str] = {}
        if row is not None and row.is_others:
            if len(question.groups) != 1:
                return ""
            question = question.excluding(question.groups[0], [each.values[0] for each in self.rows if each.values])
        elif row is not None:
            values = dict(zip(question.groups, row.values, strict=True))
        return records_url(question, interval=interval, measure=measure, **values)


def answer(question: Question) -> Answer:
    """Read the figures of a question. Raise QueryTimeout where that takes too long."""
    with limited(), consistent_reads():
        return _Reading(question, timezone.now()).answer()


class _Reading:
    """The queries of one question."""

    def __init__(self, question: Question, now: datetime) -> None:
        self.question = question
        self.now = now
        self.measure = MEASURES[question.measure]
        self.bucket = buckets.fitted(question.bucket, question.interval)
        self.begins = buckets.begins(self.bucket, question.interval)
        self.before = intervals.before(question.interval, now) if question.compare else None
        self._known_parts: dict[tuple[Interval, str], list[SourcePart]] = {}
        self.from_records = sources.needs_records(question, self.bucket)

    def answer(self) -> Answer:
        series = self._parts(self.question.interval, self.bucket)
        sums = sources.sums(series, COLUMNS, bounds=self.begins)
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
        )

    def _parts(self, interval: Interval, bucket: str = "") -> list[SourcePart]:
        """Return the parts of an interval. Those that are read again take no further query."""
        found = self._known_parts.get((interval, bucket))
        if found is None:
            found = sources.parts(self.question, interval, from_records=self.from_records, bucket=bucket)
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
        only = {name: list({subject[place] for subject in sums}) for place, name in enumerate(groups)}
        columns = self.measure.columns or ("completed",)
        now = self._with_histograms([part.narrowed(only) for part in whole], _figures(sums), grouped=True)
        top = [part.narrowed(only) for part in parts]
        found = sources.sums(top, columns, groups=groups, bounds=self.begins)
        series = self._with_histograms(top, _figures(found, columns), grouped=True, bounded=True)
        earlier: dict[Stored, Figures] = {}
        if self.before:
            top = [part.narrowed(only) for part in self._parts(self.before)]
            found = sources.sums(top, columns, groups=groups)
            earlier = self._with_histograms(top, _figures(found, columns), grouped=True)
        rows = self._labeled(now, earlier, series)
        rows.sort(key=self._order(), reverse=self._is_descending())
        return [*rows, *self._others(rows, total, total_before, by_bucket)]

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
        self, now: Mapping[Stored, Figures], earlier: Mapping[Stored, Figures], series: Mapping[Stored, Figures]
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
                    series=[series.get((number, *subject), NOTHING) for number in range(len(self.begins))],
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
            for number in range(len(self.begins))
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


def _figures(sums: Mapping[Stored, list[int]], columns: Sequence[str] = COLUMNS) -> dict[Stored, Figures]:
    return {subject: figures.from_columns(columns, values) for subject, values in sums.items()}


def _added(found: Iterable[list[int]]) -> list[int]:
    return [sum(values) for values in zip(*found, strict=True)] or [0] * len(COLUMNS)


def _number(value: float | None) -> float:
    return -1.0 if value is None else value
