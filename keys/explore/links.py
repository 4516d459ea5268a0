"""Links from figures to the explorer, with exactly the records that a figure counts."""

from dataclasses import replace
from datetime import datetime
from urllib.parse import urlencode

from django.urls import reverse

from keys.explore.intervals import Interval, text_of
from keys.explore.measures import MEASURES
from keys.explore.question import Filter, Question
from keys.models import UsageRecord
from keys.usage import retention

OUTCOME = "outcome"
EXPLORER = "admin:keys_usagerecord_changelist"
ALL_OUTCOMES = tuple(UsageRecord.Status.values)


def records_url(question: Question, *, interval: Interval | None = None, measure: str = "", **values: str) -> str:
    """Return the URL of the records behind a figure; "" if no record can be in it, or its records are purged.

    `interval` is that of the figure, `measure` another one than the question's, `values` its dimensions, by name.
    """
    if not has_records(interval or question.interval, retention.records_begin()):
        return ""
    return recent_records_url(question, interval=interval, measure=measure, **values)


def recent_records_url(
    question: Question, *, interval: Interval | None = None, measure: str = "", **values: str
) -> str:
    """Return `records_url` for an interval of the last 35 days, whose records are never purged: without a query."""
    filters = filters_query(question, measure=measure, **values)
    return "" if filters is None else joined(interval_query(interval or question.interval), filters)


def joined(interval: str, filters: str) -> str:
    """Return the URL of the explorer for the two parts of a query."""
    return f"{reverse(EXPLORER)}?{interval}{'&' if filters else ''}{filters}"


def has_records(interval: Interval, records_begin: datetime | None) -> bool:
    """Return whether the records of an interval are still there: all of them."""
    return records_begin is None or interval.begin >= records_begin


def interval_query(interval: Interval) -> str:
    """Return the part of a query for an interval, without a preset: it names the same days tomorrow."""
    return urlencode([("from", text_of(interval.begin)), ("to", text_of(interval.end))])


def filters_query(question: Question, *, measure: str = "", **values: str) -> str | None:
    """Return the part of a query for the filters of a figure; None if no record can be in it."""
    found = of_figure(question, measure=measure, **values)
    return None if found is None else urlencode(list(found.filter_parameters()))


def of_figure(question: Question, *, measure: str = "", **values: str) -> Question | None:
    """Return the question whose filters have the records of a figure; None if there can be none."""
    found = question.narrowed(values)
    counted = MEASURES[measure or question.measure].outcomes or ALL_OUTCOMES
    outcomes = [each for each in ALL_OUTCOMES if each in counted and _admits(found, each)]
    if not outcomes:
        return None
    others = tuple(each for each in found.filters if each.dimension != OUTCOME)
    return replace(found, filters=(*others, *_outcome_filter(outcomes)))


def _admits(question: Question, outcome: str) -> bool:
    return all((outcome in each.values) != each.is_excluded for each in question.filters if each.dimension == OUTCOME)


def _outcome_filter(outcomes: list[str]) -> tuple[Filter, ...]:
    """Return the shorter filter: the outcomes, or all others as excluded."""
    excluded = tuple(each for each in ALL_OUTCOMES if each not in outcomes)
    if not excluded:
        return ()
    if len(excluded) < len(outcomes):
        return (Filter(dimension=OUTCOME, values=excluded, is_excluded=True),)
    return (Filter(dimension=OUTCOME, values=tuple(outcomes)),)
