"""Links from figures to the explorer, with exactly the records that a figure counts."""

from dataclasses import replace
from urllib.parse import urlencode

from django.urls import reverse

from keys.explore.intervals import Interval
from keys.explore.measures import MEASURES
from keys.explore.question import Filter, Question
from keys.models import UsageRecord

OUTCOME = "outcome"
ALL_OUTCOMES = tuple(UsageRecord.Status.values)


def records_url(question: Question, *, interval: Interval | None = None, measure: str = "", **values: str) -> str:
    """Return the URL of the records behind a figure; "" if no record can be in it, or its records are purged.

    `interval` is that of the figure, `measure` another one than the question's, `values` its dimensions, by name.
    """
    counted = of_figure(question, interval=interval, measure=measure, **values)
    if counted is None:
        return ""
    return f"{reverse('admin:keys_usagerecord_changelist')}?{urlencode(list(counted.selection()))}"


def of_figure(
    question: Question, *, interval: Interval | None = None, measure: str = "", **values: str
) -> Question | None:
    """Return the question whose records are those of a figure; None if there can be none."""
    found = question.narrowed(values)
    # Absolute: the figure of "7 days" is followed to the same days tomorrow.
    fixed = interval or question.interval
    found = replace(found, interval=Interval(begin=fixed.begin, end=fixed.end))
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
