"""Figures of upstreams and their targets in a range, from rollups, and from usage records for a single hour."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from keys.explore import figures, intervals, sources
from keys.explore.figures import COLUMNS, Figures
from keys.explore.intervals import Interval
from keys.explore.links import recent_records_url
from keys.explore.measures import DURATION, ERRORS, MEASURES, TTFT
from keys.explore.question import Filter, Question
from keys.reports.histograms import Histogram
from lib.admin import cells
from lib.consistent_reads import consistent_reads
from lib.query_limit import limited

RANGES = {"1h": "1 hour", "24h": "24 hours", "7d": "7 days"}
DEFAULT_RANGE = "24h"
MAX_TARGETS = 50
MAX_ERRORS = 10
BY_TARGET = ("upstream", "upstream_model")
BY_ERROR = ("upstream", "error_type")
_ERROR_COLUMNS = ("client_errors", "upstream_errors")


@dataclass(frozen=True, kw_only=True, slots=True)
class StatusRow:
    """The figures of an upstream, or of one target, with the URLs of their records."""

    name: str
    figures: Figures
    records_url: str
    errors_url: str

    @property
    def error_rate(self) -> str:
        rate = MEASURES["error_rate"].value(self.figures)
        return cells.NONE if rate is None else f"{100 * rate:.1f} %"

    @property
    def latency(self) -> str:
        return _percentiles(self.figures.duration)

    @property
    def ttft(self) -> str:
        return _percentiles(self.figures.ttft)

    @property
    def speed(self) -> str:
        speed = MEASURES["output_speed"].value(self.figures)
        return f"{speed:,.1f}" if speed else cells.NONE


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorCount:
    """Errors of one type at an upstream."""

    type: str
    requests: int
    url: str


@dataclass(frozen=True, kw_only=True, slots=True)
class UpstreamFigures:
    total: StatusRow
    targets: list[StatusRow]
    """The busiest first."""
    errors: list[ErrorCount]
    """The most frequent first."""


def interval_of(name: str, now: datetime) -> Interval:
    """Return the interval of a range: the last sixty minutes, or whole hours and days with the running one."""
    if name != "1h":
        return intervals.preset(name, now)
    end = now.replace(second=0, microsecond=0) + timedelta(minutes=1)
    return Interval(begin=end - timedelta(hours=1), end=end)


def by_upstream(interval: Interval) -> dict[str, UpstreamFigures]:
    """Return the figures of each upstream that had requests. Raise QueryTimeout."""
    question = Question(measure="requests", groups=BY_TARGET, interval=interval)
    failed = Question(
        measure="errors",
        groups=BY_ERROR,
        interval=interval,
        filters=(Filter(dimension="outcome", values=ERRORS),),
    )
    with limited(), consistent_reads():
        parts = sources.parts(question, interval, from_records=False)
        sums = sources.sums(parts, COLUMNS, groups=BY_TARGET)
        histograms = sources.histograms(parts, (DURATION, TTFT), groups=BY_TARGET)
        of_failed = sources.parts(failed, interval, from_records=False)
        errors = sources.sums(of_failed, _ERROR_COLUMNS, groups=BY_ERROR)
    targets: dict[str, list[StatusRow]] = defaultdict(list)
    for (upstream, model), values in sums.items():
        found = figures.from_columns(COLUMNS, values).with_histograms(histograms.get((upstream, model), {}))
        targets[upstream].append(_row(question, model, found, {"upstream": upstream, "upstream_model": model}))
    return {
        upstream: UpstreamFigures(
            total=_row(question, upstream, _added(row.figures for row in rows), {"upstream": upstream}),
            targets=sorted(rows, key=_by_requests)[:MAX_TARGETS],
            errors=_errors(failed, upstream, errors),
        )
        for upstream, rows in targets.items()
        if upstream
    }


def nothing(name: str) -> StatusRow:
    """Return the row of an upstream or target without requests."""
    return StatusRow(name=name, figures=figures.NOTHING, records_url="", errors_url="")


def _row(question: Question, name: str, found: Figures, values: Mapping[str, str]) -> StatusRow:
    of_upstream = question.narrowed(dict(values))
    return StatusRow(
        name=name,
        figures=found,
        records_url=recent_records_url(of_upstream) if found.totals.requests else "",
        errors_url=recent_records_url(of_upstream, measure="errors") if found.totals.errors else "",
    )


def _by_requests(row: StatusRow) -> tuple[int, str]:
    return -row.figures.totals.requests, row.name


def _added(parts: Iterable[Figures]) -> Figures:
    whole = figures.NOTHING
    for part in parts:
        whole = Figures(
            totals=whole.totals + part.totals,
            cache_savings_picos=whole.cache_savings_picos + part.cache_savings_picos,
            requests_with_latency=whole.requests_with_latency + part.requests_with_latency,
            duration_ms=whole.duration_ms + part.duration_ms,
            duration=whole.duration + part.duration,
            ttft=whole.ttft + part.ttft,
        )
    return whole


def _errors(question: Question, upstream: str, errors: Mapping[tuple[str, ...], Sequence[int]]) -> list[ErrorCount]:
    found = [
        ErrorCount(
            type=error_type,
            requests=sum(values, 0),
            url=recent_records_url(question, upstream=upstream, error_type=error_type),
        )
        for (of_upstream, error_type), values in errors.items()
        if of_upstream == upstream and sum(values, 0)
    ]
    return sorted(found, key=lambda each: (-each.requests, each.type))[:MAX_ERRORS]


def _percentiles(histogram: Histogram) -> str:
    median, slow = histogram.percentile(50), histogram.percentile(95)
    if median is None or slow is None:
        return cells.NONE
    return f"{cells.milliseconds(round(median))} / {cells.milliseconds(round(slow))}"
