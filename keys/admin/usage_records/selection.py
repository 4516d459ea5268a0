"""What an explorer page shows: the question, filters and columns of its URL, and the URLs of its neighbors."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from urllib.parse import urlencode

from django.http import HttpRequest, QueryDict
from django.utils import timezone

from keys.access.team_scope import teams_of
from keys.admin.usage_records import columns
from keys.explore import dimensions, intervals, question, record_filters
from keys.explore.question import Filter, Question
from keys.explore.record_filters import LABELS, RecordFilters
from lib import money
from lib.admin import cells
from lib.admin.keyset_list import NEWER_VAR, OLDER_VAR

DEFAULT_RANGE = "24h"
OTHERS = (*record_filters.PARAMETERS, columns.PARAMETER, OLDER_VAR, NEWER_VAR, "e")


@dataclass(frozen=True, kw_only=True, slots=True)
class Chip:
    """One filter that was chosen, and the URL of the page without it."""

    label: str
    text: str
    url: str


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The parts of an explorer URL besides the position."""

    question: Question
    filters: RecordFilters
    notes: list[str]
    columns: str
    """As in the URL; empty if it names none."""

    @classmethod
    def of(cls, request: HttpRequest) -> "Selection":
        parameters: QueryDict = request.GET
        if not any(parameters.get(name) for name in ("range", "from", "to")):
            parameters = QueryDict(parameters.urlencode(), mutable=True)
            parameters["range"] = DEFAULT_RANGE
        asked, notes = question.parse(parameters, others=OTHERS)
        filters, more_notes = record_filters.parse(parameters)
        return cls(
            question=replace(asked, teams=teams_of(request.user)),
            filters=filters,
            notes=notes + more_notes,
            columns=columns.text_of(columns.parse(text)) if (text := parameters.get(columns.PARAMETER)) else "",
        )

    def parameters(self) -> Iterator[tuple[str, str]]:
        yield from self.question.selection()
        yield from self.filters.parameters()
        if self.columns:
            yield columns.PARAMETER, self.columns

    def url(self, *, position: tuple[str, str] | None = None) -> str:
        """Return the relative URL, at a position of the list or at its newest record."""
        return "?" + urlencode([*self.parameters(), *([position] if position else [])])

    def within(self, interval: intervals.Interval) -> "Selection":
        return replace(self, question=replace(self.question, interval=interval))

    def of_preset(self, name: str) -> "Selection":
        return self.within(replace(self.question.interval, preset=name))

    def is_wider(self, preset: str) -> bool:
        """Return whether a preset begins before the range does."""
        return intervals.preset(preset, timezone.now()).begin < self.question.interval.begin

    def id_as(self, dimension: str, id: str) -> "Selection":
        """Return the selection with its ID as that of a session or an agent."""
        asked = self.question.narrowed({dimension: id})
        return replace(self, question=asked, filters=replace(self.filters, id=""))

    @property
    def cleared(self) -> "Selection":
        """The same range without filters."""
        return replace(self, question=replace(self.question, filters=()), filters=RecordFilters())

    @property
    def presets(self) -> list[tuple[str, str, bool]]:
        """Label, URL and whether it is chosen, of each preset of the range."""
        chosen = self.question.interval.preset
        return [(label, self.of_preset(name).url(), name == chosen) for name, (label, _) in intervals.PRESETS.items()]

    @property
    def begin_text(self) -> str:
        return intervals.text_of(self.question.interval.begin)[:16]

    @property
    def end_text(self) -> str:
        return intervals.text_of(self.question.interval.end)[:16]

    @cached_property
    def chips(self) -> list[Chip]:
        """The filters that were chosen. One query for each dimension that has names."""
        return [*self._chips_of_question(), *self._chips_of_filters()]

    def _chips_of_question(self) -> Iterator[Chip]:
        for each in self.question.filters:
            dimension = dimensions.known(each.dimension)
            labels = dimension.labels(each.values, self.question.teams)
            for value in each.values:
                yield Chip(
                    label=f"{dimension.label}{' is not' if each.is_excluded else ''}",
                    text=labels[value],
                    url=self._without(each, value).url(),
                )

    def _without(self, each: Filter, value: str) -> "Selection":
        return replace(self, question=self.question.without(each, value))

    def _chips_of_filters(self) -> Iterator[Chip]:
        for name, value in self.filters.parameters():
            without = replace(self, filters=self.filters.without(name, value))
            yield Chip(label=LABELS[name], text=self._text(name, value), url=without.url())

    def _text(self, name: str, value: str) -> str:
        if name == "min_cost":
            return money.dollars(self.filters.min_cost or 0)
        if name == "min_latency":
            return cells.milliseconds(self.filters.min_latency)
        if name == "min_tokens":
            return cells.count(self.filters.min_tokens)
        if name == "streamed":
            return "Yes" if self.filters.streamed else "No"
        return f"{value}*" if name == "model_prefix" else value
