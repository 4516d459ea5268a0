"""Cards, chart and tables of the usage page, as values that its templates show."""

from collections.abc import Sequence
from typing import Any

from keys.explore import dimensions, links, wording
from keys.explore.answer import IN_CHART, Answer, AnswerRow, remaining
from keys.explore.buckets import BELOW_AN_HOUR
from keys.explore.figures import Figures
from keys.explore.intervals import local
from keys.explore.links import joined
from keys.explore.measures import MEASURES, UsageMeasure
from keys.explore.question import Question
from lib import money
from lib.admin import cells

CARDS = ("requests", "cost", "all_input_tokens", "output_tokens", "error_rate", "rejected")
LATENCY_CARDS = ("latency_p50", "latency_p95", "ttft_p50", "ttft_p95")
COLUMNS = ("requests", "cost", "all_input_tokens", "output_tokens", "errors", "rejected")
"""Measures in the table besides that of the question."""
CHART_UNITS = {"usd": "USD", "share": "%", "ms": "ms", "speed": "per second", "count": ""}


def cards(found: Answer) -> list[dict[str, Any]]:
    """Return the cards of the total: the question's measure first."""
    names = dict.fromkeys((found.question.measure, *CARDS, *LATENCY_CARDS, "cache_hit_rate"))
    return [_card(found, MEASURES[name]) for name in names]


def _card(found: Answer, measure: UsageMeasure) -> dict[str, Any]:
    number = measure.value(found.total)
    before = measure.value(found.total_before) if found.total_before else None
    return {
        "label": measure.label,
        "is_chosen": measure.name == found.question.measure,
        "is_bad": measure.name in ("errors", "error_rate") and bool(number),
        "question": found.question.query(measure=measure.name, sort=""),
        "value": wording.value(measure, number),
        "exact": wording.exact(measure, number),
        "url": found.records_url(measure=measure.name),
        "note": _note(measure, found.total),
        "before": wording.value(measure, before) if found.total_before else "",
        "before_url": found.records_url(measure=measure.name, before=True) if found.total_before else "",
        "change": wording.change(measure, number, before) if found.total_before else "",
    }


def _note(measure: UsageMeasure, total: Figures) -> str:
    figures = total.totals
    notes = {
        "requests": f"{figures.in_flight:,} in flight" if figures.in_flight else "",
        "cost": f"{figures.unpriced:,} unpriced" if figures.unpriced else "all requests priced",
        "all_input_tokens": f"{figures.cache_read_tokens:,} from the cache",
        "output_tokens": "incl. reasoning tokens",
        "error_rate": f"{figures.errors:,} errors, {figures.client_errors:,} by clients",
        "rejected": "not counted as requests",
        "cache_hit_rate": f"saved {money.short(total.cache_savings_picos)}",
    }
    return notes.get(measure.name, "")


# ---- the chart and its table


def _series(found: Answer) -> list[tuple[str, str | None, list[Figures]]]:
    """Return the series of the chart: label, filters of the records, and the figures of each bucket."""
    if not found.question.groups:
        return [(found.measure.label, _filters(found, None), found.series)]
    named = [row for row in found.rows if row.series and not row.is_others]
    named = sorted(named, key=lambda row: _weight(found, row), reverse=True)[:IN_CHART]
    series = [(_label(row), _filters(found, row), row.series) for row in named]
    if len(found.rows) > len(named):
        others = [
            remaining(whole, (row.series[number] for row in named), found.measure)
            for number, whole in enumerate(found.series)
        ]
        series.append(("Other", _filters_of_others(found, named), others))
    return series


def _weight(found: Answer, row: AnswerRow) -> float:
    if found.measure.is_sum:
        return found.measure.value(row.figures) or 0
    return row.figures.totals.requests


def _label(row: AnswerRow) -> str:
    return " · ".join(row.labels)


def _filters(found: Answer, row: AnswerRow | None, measure: str = "") -> str | None:
    if row is not None and row.is_others:
        return _filters_of_others(found, [each for each in found.rows if not each.is_others], measure)
    values = dict(zip(found.question.groups, row.values, strict=True)) if row else {}
    return links.filters_query(found.question, measure=measure, **values)


def _filters_of_others(found: Answer, named: Sequence[AnswerRow], measure: str = "") -> str | None:
    """Return the filters of all requests that are in none of the rows. Two groups have none."""
    if len(found.question.groups) != 1:
        return None
    rest = found.question.excluding(found.question.groups[0], [row.values[0] for row in named])
    return links.filters_query(rest, measure=measure)


def _intervals(found: Answer) -> list[str]:
    """Return the part of a query for each bucket; "" where it has no records."""
    covered = [found.bucket_interval(number) for number in range(len(found.begins))]
    return [links.interval_query(each) if links.has_records(each, found.records_begin) else "" for each in covered]


def _url(interval: str, filters: str | None) -> str:
    return joined(interval, filters) if interval and filters is not None else ""


def chart(found: Answer) -> dict[str, Any]:
    """Return the description of the chart for `charts.js`. A bar leads to its records."""
    measure = found.measure
    is_line = found.question.chart == "line" or (found.question.chart == "stacked" and not measure.is_sum)
    return {
        "type": "line" if is_line else "bar",
        "stacked": found.question.chart == "stacked" and measure.is_sum,
        "unit": CHART_UNITS[measure.unit],
        "labels": [wording.bucket(begin, found.bucket) for begin in found.begins],
        "explorer": joined("", ""),
        "intervals": _intervals(found),
        "series": [
            {"name": name, "filters": filters, "values": [_drawn(measure, each) for each in figures]}
            for name, filters, figures in _series(found)
        ],
    }


def _drawn(measure: UsageMeasure, figures: Figures) -> float | None:
    number = measure.value(figures)
    if number is None:
        return 0 if measure.is_sum else None
    if measure.unit == "usd":
        return number / money.PICOS_PER_MICRO / money.MICROS
    return round(100 * number, 2) if measure.unit == "share" else round(number, 2)


def chart_rows(found: Answer) -> dict[str, Any]:
    """Return the table of the chart: a row for each bucket, a column for each series, and the total."""
    series = _series(found)
    if found.question.groups:
        series.append(("Total", _filters(found, None), found.series))
    intervals = _intervals(found)

    def of_bucket(number: int) -> list[dict[str, str]]:
        return [_cell(found.measure, each[number], _url(intervals[number], filters)) for _, filters, each in series]

    return {
        "names": [name for name, _, _ in series],
        "rows": [
            {
                "label": wording.bucket(begin, found.bucket),
                "iso": local(begin).isoformat(),
                "cells": [
                    _cell(found.measure, each[number], _url(intervals[number], filters)) for _, filters, each in series
                ],
            }
            for number, begin in enumerate(found.begins)
        ],
    }


def _cell(measure: UsageMeasure, figures: Figures, url: str) -> dict[str, str]:
    number = measure.value(figures)
    # A link for each zero would make every table a wall of links.
    return {
        "value": wording.value(measure, number),
        "title": wording.exact(measure, number),
        "url": url if number else "",
    }


def caption(found: Answer) -> str:
    """Return the finding of the chart: the total, and its largest part."""
    measure = found.measure
    text = f"{measure.label}: {wording.value(measure, measure.value(found.total))}"
    whole = measure.value(found.total)
    named = [row for row in found.rows if not row.is_others]
    if named and measure.is_sum and whole:
        most = max(named, key=lambda row: _weight(found, row))
        text += f"; {wording.percent(_weight(found, most) / whole)} {_label(most)}"
    return f"{text}."


# ---- the table of rows


def table(found: Answer) -> dict[str, Any]:
    """Return the table of rows: the measure with share, change and trend, then the other columns."""
    question = found.question
    others = [MEASURES[name] for name in COLUMNS if name != question.measure]
    interval = (
        links.interval_query(question.interval) if links.has_records(question.interval, found.records_begin) else ""
    )
    groups = [dimensions.known(name).label for name in question.groups]
    return {
        "groups": [_head(question, label, ("name", "name2")[place]) for place, label in enumerate(groups)],
        "heads": [
            _head(question, found.measure.label, question.measure),
            _head(question, "Share", "share"),
            *([_head(question, "Change", "change")] if question.compare else []),
        ],
        "others": [_head(question, each.label, each.name) for each in others],
        "rows": [_row(found, row, others, interval) for row in found.rows],
        "total": _row(found, None, others, interval),
        "width": len(groups) + 3 + len(others) + bool(question.compare),
    }


def _head(question: Question, label: str, name: str) -> dict[str, str]:
    current = question.sort or f"-{question.measure}"
    is_current = current.removeprefix("-") == name
    first = name if name in ("name", "name2") else f"-{name}"
    following = name if is_current and current.startswith("-") else f"-{name}" if is_current else first
    direction = "descending" if current.startswith("-") else "ascending"
    return {"label": label, "question": question.query(sort=following), "sorted": direction if is_current else ""}


def _row(found: Answer, row: AnswerRow | None, others: Sequence[UsageMeasure], interval: str) -> dict[str, Any]:
    measure = found.measure
    figures = row.figures if row else found.total
    before = row.before if row else found.total_before
    return {
        "names": _names(found, row) if row else [],
        "is_others": bool(row and row.is_others),
        "cell": _cell(measure, figures, _url(interval, _filters(found, row))),
        "share": _share(found, figures),
        "change": wording.change(measure, measure.value(figures), measure.value(before)) if before else "",
        "before": wording.value(measure, measure.value(before)) if before else "",
        "trend": _trend(measure, row.series if row else found.series),
        "cells": [_cell(each, figures, _url(interval, _filters(found, row, each.name))) for each in others],
    }


def _share(found: Answer, figures: Figures) -> str:
    whole, part = (found.measure.value(each) for each in (found.total, figures))
    return wording.percent((part or 0) / whole) if found.measure.is_sum and whole else cells.NONE


def _names(found: Answer, row: AnswerRow) -> list[dict[str, str]]:
    """Return the labels of a row, each with the URL of the question for this value alone."""
    if row.is_others:
        return [{"label": row.labels[0], "question": ""}]
    named = zip(found.question.groups, row.values, row.labels, strict=True)
    return [
        {"label": label, "question": found.question.narrowed({name: value}).query()} for name, value, label in named
    ]


def _trend(measure: UsageMeasure, series: Sequence[Figures]) -> str:
    if not series:
        return ""
    return cells.sparkline(wording.trend([measure.value(each) for each in series]))


# ---- sentences


def sentences(found: Answer) -> list[str]:
    """Say what the figures cover, where they are read, how fresh they are and what was changed."""
    question, said = found.question, []
    if question.bucket and question.bucket != found.bucket:
        said.append(f"This range has too many or too few buckets for the chosen length: shown by {found.bucket}.")
    if found.is_from_records:
        reason = "buckets below an hour" if found.bucket in BELOW_AN_HOUR else "sessions, agents or tags"
        said.append(f"Read from single records, because rollups have no {reason}.")
    else:
        said.append("Read from rollups, which every settlement updates.")
    said.append(f"As of {local(found.as_of):%H:%M:%S}. Requests in flight are counted; their tokens and cost follow.")
    if found.interval_before:
        before = wording.interval(found.interval_before)
        is_running = question.interval.end > found.as_of
        said.append(f"Compared with {before}{': as much of it as has passed of this range' if is_running else ''}.")
    if found.records_begin and question.interval.begin < found.records_begin:
        purged = f"Records before {wording.moment(found.records_begin)} are purged"
        kept = "only later ones are counted" if found.is_from_records else "earlier figures have no links to records"
        said.append(f"{purged}: {kept}.")
    if found.measure.latency:
        said.append("Percentiles are read from histograms, within 5 % of the exact value.")
        if any(not row.series for row in found.rows):
            said.append(f"Trends are shown for the {IN_CHART} rows of the chart: those with the most requests.")
    return said
