"""Histogram of the explorer: the figures of its requests by time, and of the whole range."""

from dataclasses import dataclass

from keys.explore import buckets, figures, sources
from keys.explore.figures import COLUMNS, Figures
from keys.explore.intervals import Interval
from keys.explore.question import Question
from keys.explore.record_filters import RecordFilters
from keys.explore.record_pages import indexed_part, is_of_rollups, scan_edge
from keys.explore.sources import SourcePart
from keys.models import UsageRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestHistogram:
    """Figures by bucket, and of the range."""

    intervals: list[Interval]
    series: list[Figures]
    """Of each interval."""
    total: Figures
    bucket: str
    is_from_records: bool


def histogram(question: Question, filters: RecordFilters) -> RequestHistogram | None:
    """Return the histogram of the records that the explorer lists: from rollups, or from records if they are few.

    None if more records than a page compares would have to be read.
    """
    interval = question.interval
    bucket = buckets.fitted("", interval)
    begins = buckets.begins(bucket, interval)
    from_records = not is_of_rollups(question, filters) or sources.needs_records(question, bucket)
    if from_records and scan_edge(indexed_part(question), is_newer=False) is not None:
        return None
    if from_records:
        rows = UsageRecord.objects.filter(created_at__gte=interval.begin, created_at__lt=interval.end).order_by()
        parts = [SourcePart(question=question, unfiltered=filters.applied(rows))]
    else:
        parts = sources.parts(question, interval, from_records=False, bucket=bucket)
    sums = sources.sums(parts, COLUMNS, bounds=begins)
    return RequestHistogram(
        intervals=[Interval(begin=b, end=e) for b, e in zip(begins, [*begins[1:], interval.end], strict=True)],
        series=[_figures([sums[number,]] if (number,) in sums else []) for number in range(len(begins))],
        total=_figures(list(sums.values())),
        bucket=bucket,
        is_from_records=from_records,
    )


def _figures(sums: list[list[int]]) -> Figures:
    return figures.from_columns(COLUMNS, [sum(values) for values in zip([0] * len(COLUMNS), *sums, strict=True)])
