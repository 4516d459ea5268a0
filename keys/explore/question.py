"""Questions about usage, and their grammar in URLs: parsed without ever failing, and written again."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.http import QueryDict
from django.utils import timezone

from keys.explore import dimensions, intervals, measures
from keys.explore.buckets import BUCKETS
from keys.explore.intervals import Interval, shortened

CHARTS = {"stacked": "Stacked bars", "bar": "Bars", "line": "Lines"}
MAX_GROUPS = 2
MAX_VALUES = 100
"""Values of a filter. Further ones are left out."""
MAX_NOTES = 8
DEFAULT_GROUPS = ("model",)
NOT = "not_"
SORTABLE = {"name", "name2", "share", "change", *measures.MEASURES}
OWN_PARAMETERS = ("measure", "group", "range", "from", "to", "bucket", "compare", "chart", "sort")


@dataclass(frozen=True, kw_only=True, slots=True)
class Filter:
    """A condition on one dimension: one of these values, or none of them."""

    dimension: str
    values: tuple[str, ...]
    is_excluded: bool = False

    @property
    def parameter(self) -> str:
        return f"{NOT if self.is_excluded else ''}{self.dimension}"


def _default_interval() -> Interval:
    return intervals.preset(intervals.DEFAULT, timezone.now())


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What the usage page shows: a measure by up to two groups, of the requests that match all filters."""

    measure: str = measures.DEFAULT
    groups: tuple[str, ...] = DEFAULT_GROUPS
    filters: tuple[Filter, ...] = ()
    interval: Interval = field(default_factory=_default_interval)
    bucket: str = ""
    """Empty: one that follows the interval."""
    compare: bool = False
    chart: str = "stacked"
    sort: str = ""
    """Empty: by the measure, largest first."""
    teams: frozenset[int] | None = None
    """Scope of the user: only requests of these teams. None: of all. Never from the URL."""

    def query(self, **changes: Any) -> str:
        """Return the query string of its URL, with some of its fields changed."""
        return urlencode(list(replace(self, **changes)._parameters()))

    def _parameters(self) -> Iterator[tuple[str, str]]:
        yield "measure", self.measure
        for group in self.groups or ("",):
            yield "group", group
        yield from self.selection()
        yield from ((name, value) for name, value in (("bucket", self.bucket), ("sort", self.sort)) if value)
        yield "compare", str(int(self.compare))
        yield "chart", self.chart

    def selection(self) -> Iterator[tuple[str, str]]:
        """Yield the parameters of its interval and its filters, which the explorer has too."""
        if self.interval.preset:
            yield "range", self.interval.preset
        else:
            yield "from", intervals.text_of(self.interval.begin)
            yield "to", intervals.text_of(self.interval.end)
        yield from self.filter_parameters()

    def filter_parameters(self) -> Iterator[tuple[str, str]]:
        for each in self.filters:
            for value in each.values:
                yield each.parameter, value

    def during(self, interval: Interval) -> "Question":
        return replace(self, interval=interval)

    def narrowed(self, values: dict[str, str]) -> "Question":
        """Return the question for one value of some dimensions, which the present filters include."""
        kept = tuple(each for each in self.filters if each.dimension not in values)
        added = tuple(Filter(dimension=name, values=(value,)) for name, value in values.items())
        return replace(self, filters=(*kept, *added))

    def excluding(self, dimension: str, values: Collection[str]) -> "Question":
        """Return the question without some values of a dimension."""
        return replace(
            self, filters=(*self.filters, Filter(dimension=dimension, values=tuple(values), is_excluded=True))
        )

    def without(self, removed: Filter, value: str | None = None) -> "Question":
        """Return the question without a filter, or without one of its values."""
        left = tuple(each for each in removed.values if value is not None and each != value)
        filters = (replace(each, values=left) if each == removed else each for each in self.filters)
        return replace(self, filters=tuple(each for each in filters if each.values))


def parse(
    parameters: QueryDict, *, now: datetime | None = None, others: Collection[str] = ()
) -> tuple[Question, list[str]]:
    """Return the question of a URL, and a sentence for each part of it that is left out. Never raise.

    `others` are the parameters that the page has besides those of questions.
    """
    parser = _Parser(parameters, now or timezone.now())
    question = Question(
        measure=parser.choice("measure", measures.MEASURES, measures.DEFAULT),
        groups=parser.groups(),
        filters=parser.filters(others),
        interval=parser.interval(),
        bucket=parser.choice("bucket", BUCKETS, ""),
        compare=parser.choice("compare", ("0", "1"), "0") == "1",
        chart=parser.choice("chart", CHARTS, "stacked"),
        sort=parser.sort(),
    )
    left_out = list(dict.fromkeys(parser.notes))
    further = len(left_out) - MAX_NOTES
    return question, left_out[:MAX_NOTES] + ([f"{further} further parameters were left out."] if further > 0 else [])


class _Parser:
    """One URL, read part by part."""

    def __init__(self, parameters: QueryDict, now: datetime) -> None:
        self._parameters = parameters
        self._now = now
        self.notes: list[str] = []

    def choice(self, name: str, choices: Collection[str], default: str) -> str:
        text = self._parameters.get(name) or default
        if text in choices or text == default:
            return text
        self.notes.append(f"Unknown {name} “{shortened(text)}”: left out.")
        return default

    def sort(self) -> str:
        text = self._parameters.get("sort") or ""
        if not text or text.removeprefix("-") in SORTABLE:
            return text
        self.notes.append(f"Unknown order “{shortened(text)}”: left out.")
        return ""

    def groups(self) -> tuple[str, ...]:
        if "group" not in self._parameters:
            return DEFAULT_GROUPS
        found: dict[str, None] = {}
        for name in self._parameters.getlist("group"):
            if name and dimensions.find(name) is None:
                self.notes.append(f"Unknown group “{shortened(name)}”: left out.")
            elif name:
                found[name] = None
        if len(found) > MAX_GROUPS:
            self.notes.append(f"A table has at most {MAX_GROUPS} groups: the others were left out.")
        return tuple(found)[:MAX_GROUPS]

    def interval(self) -> Interval:
        begin, end = (self._parameters.get(name) or "" for name in ("from", "to"))
        if begin or end:
            try:
                return intervals.between(begin, end)
            except (ValueError, OverflowError) as error:
                self.notes.append(f"{error} Shown instead: the last 7 days.")
                return intervals.preset(intervals.DEFAULT, self._now)
        return intervals.preset(self.choice("range", intervals.PRESETS, intervals.DEFAULT), self._now)

    def filters(self, others: Collection[str]) -> tuple[Filter, ...]:
        found = []
        for parameter in self._parameters:
            if parameter in OWN_PARAMETERS or parameter in others:
                continue
            name = parameter.removeprefix(NOT)
            dimension = dimensions.find(name)
            if dimension is None:
                self.notes.append(f"Unknown parameter “{shortened(parameter)}”: left out.")
            elif values := self._values(parameter, dimension):
                found.append(Filter(dimension=name, values=values, is_excluded=name != parameter))
        return tuple(found)

    def _values(self, parameter: str, dimension: dimensions.UsageDimension) -> tuple[str, ...]:
        texts = dict.fromkeys(self._parameters.getlist(parameter))
        possible = [text for text in texts if dimension.is_possible(text)]
        if len(possible) < len(texts):
            wrong = next(text for text in texts if text not in possible)
            self.notes.append(f"{dimension.label}: “{shortened(wrong)}” cannot be a value and was left out.")
        if len(possible) > MAX_VALUES:
            self.notes.append(f"{dimension.label}: the first {MAX_VALUES} of {len(possible)} values are used.")
        return tuple(possible[:MAX_VALUES])
