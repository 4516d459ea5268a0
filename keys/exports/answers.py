"""Exports of what the usage page shows: its table, and its chart bucket by bucket."""

from collections.abc import Iterator, Mapping
from typing import Any

from keys.explore.answer import Answer, AnswerRow
from keys.explore.measures import MEASURES, UsageMeasure
from keys.exports.subjects import Subjects
from keys.exports.tables import Column, ExportTable, ValueType, texts

KEY = "key"
_VALUE_TYPES = {
    "count": ValueType.COUNT,
    "usd": ValueType.USD,
    "share": ValueType.NUMBER,
    "ms": ValueType.NUMBER,
    "speed": ValueType.NUMBER,
}


def answer_table(answer: Answer, *, query: Mapping[str, str]) -> ExportTable:
    """Return the rows of the table, with every measure that it has, in its order; without its line of totals.

    The last row may be that of all others, whose values are empty and whose name says so.
    """
    measures = [each for each in MEASURES.values() if not each.latency or each.latency == answer.measure.latency]
    subjects = Subjects(teams=answer.question.teams) if KEY in answer.question.groups else None
    columns = [
        *_group_columns(answer),
        *(_column(each) for each in measures),
        *([_column(answer.measure, "_before")] if answer.interval_before else []),
        *texts(*(subjects.metadata_columns if subjects else ())),
    ]
    return ExportTable(name="usage", query=query, columns=columns, rows=_rows(answer, measures, subjects))


def _rows(answer: Answer, measures: list[UsageMeasure], subjects: Subjects | None) -> Iterator[tuple[Any, ...]]:
    for row in answer.rows or [_total(answer)]:
        cells = [each.value(row.figures) for each in measures]
        if answer.interval_before:
            cells.append(answer.measure.value(row.before) if row.before else None)
        yield (*_group_cells(answer, row), *cells, *(_metadata(answer, row, subjects) if subjects else ()))


def chart_table(answer: Answer, *, query: Mapping[str, str]) -> ExportTable:
    """Return the measure of each row of the table in each bucket of the chart."""
    columns = [Column(name=answer.bucket, type=ValueType.MOMENT), *_group_columns(answer), _column(answer.measure)]
    return ExportTable(name="usage_chart", query=query, columns=columns, rows=_points(answer))


def _points(answer: Answer) -> Iterator[tuple[Any, ...]]:
    for number, begin in enumerate(answer.begins):
        for row in answer.rows or [_total(answer)]:
            yield (begin, *_group_cells(answer, row), answer.measure.value(row.series[number]))


def _total(answer: Answer) -> AnswerRow:
    """Return the only row of a question without groups."""
    return AnswerRow(values=(), labels=(), figures=answer.total, before=answer.total_before, series=answer.series)


def _group_columns(answer: Answer) -> list[Column]:
    return [column for name in answer.question.groups for column in texts(name, f"{name}_name")]


def _group_cells(answer: Answer, row: AnswerRow) -> list[str]:
    """Return the value and the name of each group."""
    if row.is_others:
        names = [row.labels[0], *("" for _ in answer.question.groups[1:])]
        return [cell for name in names for cell in ("", name)]
    return [cell for pair in zip(row.values, row.labels, strict=True) for cell in pair]


def _metadata(answer: Answer, row: AnswerRow, subjects: Subjects) -> list[str]:
    public_id = "" if row.is_others else row.values[answer.question.groups.index(KEY)]
    return subjects.metadata_of(public_id)


def _column(measure: UsageMeasure, suffix: str = "") -> Column:
    unit = "_usd" if measure.unit == "usd" else "_ms" if measure.unit == "ms" else ""
    return Column(name=f"{measure.name}{unit}{suffix}", type=_VALUE_TYPES[measure.unit])
