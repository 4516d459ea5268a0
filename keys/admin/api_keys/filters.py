"""Filters of the list of API keys: state, finding, owner, team, creator and allowed model."""

from collections.abc import Iterator, Sequence
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Count, QuerySet
from django.http import HttpRequest

from keys.admin.api_keys import allowlists
from keys.hygiene import conditions
from keys.hygiene.conditions import Condition
from lib.admin.filters import TextFilter


def _matching_other_filters(spec: admin.SimpleListFilter, changelist: ChangeList) -> QuerySet[Any]:
    """Return the keys that match the search and all other filters: a filter counts its choices among these."""
    return changelist.get_queryset(spec.request, exclude_parameters=spec.expected_parameters()).order_by()


class ConditionFilter(admin.SimpleListFilter):
    """One choice per condition, with the number of matching keys."""

    conditions: Sequence[Condition] = ()
    hides_empty = False
    """Whether a condition without matching keys is not offered."""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(condition.name, condition.label) for condition in self.conditions]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        chosen = self.value()
        if chosen not in {condition.name for condition in self.conditions}:
            return queryset
        return conditions.keys_with(chosen, among=queryset)

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        counted = conditions.counts(_matching_other_filters(self, changelist), self.conditions)
        everything, *others = super().choices(changelist)
        yield everything
        for condition, choice in zip(self.conditions, others, strict=True):
            if counted[condition.name] or choice["selected"] or not self.hides_empty:
                yield choice | {"display": f"{condition.label} ({counted[condition.name]:,})"}


class KeyStateFilter(ConditionFilter):
    title = "state"
    parameter_name = "state"
    conditions = [*conditions.STATES, *conditions.INACTIVE_FLAGS]


class FindingFilter(ConditionFilter):
    """Active keys with a hygiene finding or another flag."""

    title = "finding"
    parameter_name = "finding"
    conditions = conditions.ACTIVE_FLAGS
    hides_empty = True


class NameFilter(TextFilter):
    """A text field for a name, followed by the most frequent names with their number of keys.

    Names are not counted for more than `MAX_COUNTED_KEYS`: with so many keys the counts are slow and say little.
    """

    template = "keys/filters/name.html"
    SHOWN = 8
    MAX_COUNTED_KEYS = 1_000

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        (choice,) = super().choices(changelist)
        if changelist.result_count > self.MAX_COUNTED_KEYS:
            yield choice
            return
        names = [
            {
                "name": name,
                "count": count,
                "selected": name == self.value(),
                "query_string": changelist.get_query_string({str(self.parameter_name): name}),
            }
            for name, count in self.most_frequent(_matching_other_filters(self, changelist))
        ]
        yield choice | {"names": names}

    def most_frequent(self, api_keys: QuerySet[Any]) -> list[tuple[str, int]]:
        """Return the names to offer, each with the number of keys that it matches."""
        raise NotImplementedError


class RelatedNameFilter(NameFilter):
    column = ""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(**{self.column: self.value()}) if self.value() else queryset

    def most_frequent(self, api_keys: QuerySet[Any]) -> list[tuple[str, int]]:
        named = api_keys.exclude(**{self.column: None}).values_list(self.column)
        return list(named.annotate(count=Count("pk")).order_by("-count", self.column)[: self.SHOWN])


class OwnerFilter(RelatedNameFilter):
    title = "owner"
    parameter_name = "owner"
    column = "owner__username"
    placeholder = "user name"


class TeamFilter(RelatedNameFilter):
    title = "team"
    parameter_name = "team"
    column = "team__name"
    placeholder = "team name"


class CreatorFilter(RelatedNameFilter):
    title = "created by"
    parameter_name = "created_by"
    column = "created_by__username"
    placeholder = "user name"


class AllowedModelFilter(NameFilter):
    """Keys that may use a model: no allowlist, their own or their team's, excludes it."""

    title = "allowed model"
    parameter_name = "model"
    placeholder = "claude-3-opus-… or claude-*"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(allowlists.may_use(self.value())) if self.value() else queryset

    def most_frequent(self, api_keys: QuerySet[Any]) -> list[tuple[str, int]]:
        counted = api_keys.values_list("allowed_models", "team__allowed_models").annotate(count=Count("pk"))
        lists = [((own, of_team or []), count) for own, of_team, count in counted.order_by()]
        names = allowlists.most_frequent_names(lists, limit=self.SHOWN)
        return [(name, sum(count for each, count in lists if allowlists.allows(each, name))) for name in names]
