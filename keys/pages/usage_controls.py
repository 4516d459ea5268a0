"""Controls of the usage page: presets, choices, filters as chips, and the form that adds a filter."""

from dataclasses import replace
from typing import Any

from django.http import QueryDict

from keys.explore import dimensions, options, wording
from keys.explore.buckets import BUCKETS, fitting
from keys.explore.dimensions import DIMENSIONS
from keys.explore.intervals import PRESETS, local
from keys.explore.measures import MEASURES
from keys.explore.question import CHARTS, Filter, Question
from lib.query_limit import QueryTimeout


def controls(question: Question) -> dict[str, Any]:
    """Return the choices of the page, each with what is chosen."""
    interval = question.interval
    groups = {name: each.label for name, each in DIMENSIONS.items()}
    groups |= {name: dimensions.known(name).label for name in (*_tags(question), *question.groups)}
    return {
        "range": wording.interval(interval),
        "presets": [
            {"label": label, "question": _with_preset(question, name), "is_chosen": interval.preset == name}
            for name, (label, _) in PRESETS.items()
        ],
        "from": f"{local(interval.begin):%Y-%m-%dT%H:%M}",
        "to": f"{local(interval.end):%Y-%m-%dT%H:%M}",
        "measures": [(name, each.label) for name, each in MEASURES.items()],
        "groups": list(groups.items()),
        "chosen_groups": [*question.groups, "", ""][:2],
        "buckets": [("", "Automatic"), *((name, BUCKETS[name]) for name in BUCKETS if name in fitting(interval))],
        "charts": list(CHARTS.items()),
        "chips": [chip for each in question.filters for chip in _chips(question, each)],
        "dimensions": [
            {"label": label, "question": f"{question.query()}&add={name}"} for name, label in groups.items()
        ],
        "without_filters": question.query(filters=()) if question.filters else "",
        # What the forms keep of the question besides their own fields.
        "of_range": _hidden(question, {"range", "from", "to"}),
        "of_choices": _hidden(question, {"measure", "group", "bucket", "compare", "chart", "sort"}),
        "of_all": _hidden(question, set()),
    }


def _with_preset(question: Question, name: str) -> str:
    return question.query(interval=replace(question.interval, preset=name), bucket="")


def _tags(question: Question) -> list[str]:
    try:
        return options.tags(question)
    except QueryTimeout:
        return []


def _hidden(question: Question, without: set[str]) -> list[tuple[str, str]]:
    pairs = QueryDict(question.query())
    return [(name, value) for name, values in pairs.lists() if name not in without for value in values]


def _chips(question: Question, each: Filter) -> list[dict[str, str]]:
    dimension = dimensions.known(each.dimension)
    labels = dimension.labels(each.values, question.teams)
    verb = "is not" if each.is_excluded else "is"
    return [
        {"text": f"{dimension.label} {verb} {labels[value]}", "without": question.without(each, value).query()}
        for value in each.values
    ]


def adding(question: Question, name: str) -> dict[str, Any] | None:
    """Return the form that adds a filter on a dimension; None if there is no such dimension."""
    dimension = dimensions.find(name)
    if dimension is None:
        return None
    try:
        values = options.options(question, dimension)
    except QueryTimeout:
        values = []
    return {"name": name, "label": dimension.label, "options": values}
