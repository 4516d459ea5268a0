"""The filters of the lists of keys and calls. Each keeps its state in the URL."""

from collections.abc import Iterator, Sequence
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest

from keys.admin import allow_lists
from keys.hygiene import conditions
from keys.hygiene.conditions import Condition
from keys.models import APIKey
from lib.admin.filters import TextFilter
from lib.model_patterns import WILDCARD, is_prefix


def _left_by_others(spec: admin.SimpleListFilter, changelist: ChangeList) -> QuerySet[Any]:
    """What the search and the other filters leave: of that, a filter counts what each of its choices would leave."""
    return changelist.get_queryset(spec.request, exclude_parameters=spec.expected_parameters()).order_by()


class ConditionFilter(admin.SimpleListFilter):
    """A choice for each of some conditions, with the number of keys that the other filters leave."""

    conditions: Sequence[Condition] = ()
    leaves_out_none = False
    """Whether a condition that no key is in is no choice."""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(condition.name, condition.label) for condition in self.conditions]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        chosen = self.value()
        if chosen not in {condition.name for condition in self.conditions}:
            return queryset
        return conditions.keys_with(chosen, among=queryset)

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        counted = conditions.counts(_left_by_others(self, changelist), self.conditions)
        everything, *others = super().choices(changelist)
        yield everything
        for condition, choice in zip(self.conditions, others, strict=True):
            if counted[condition.name] or choice["selected"] or not self.leaves_out_none:
                yield choice | {"display": f"{condition.label} ({counted[condition.name]:,})"}


class StateFilter(ConditionFilter):
    title = "state"
    parameter_name = "state"
    conditions = [*conditions.STATES, *conditions.INACTIVE_FLAGS]


class FindingFilter(ConditionFilter):
    """Active keys with a hygiene finding or another flag."""

    title = "finding"
    parameter_name = "finding"
    conditions = conditions.ACTIVE_FLAGS
    leaves_out_none = True


class NameFilter(TextFilter):
    """A field to type a name into, above those that most keys have, with their number.

    Of more than a thousand keys no names are counted: they say little there, and take their time.
    """

    template = "keys/filters/name.html"
    SHOWN = 8
    MOST_KEYS = 1_000

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        (choice,) = super().choices(changelist)
        if changelist.result_count > self.MOST_KEYS:
            yield choice
            return
        names = [
            {
                "name": name,
                "count": count,
                "selected": name == self.value(),
                "query_string": changelist.get_query_string({str(self.parameter_name): name}),
            }
            for name, count in self.most_frequent(_left_by_others(self, changelist))
        ]
        yield choice | {"names": names}

    def most_frequent(self, api_keys: QuerySet[Any]) -> list[tuple[str, int]]:
        """The names that are offered, and how many of the keys each would leave."""
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
    placeholder = "name of a team"


class CreatorFilter(RelatedNameFilter):
    title = "created by"
    parameter_name = "created_by"
    column = "created_by__username"
    placeholder = "user name"


class AllowedModelFilter(NameFilter):
    """The keys that may call a model: their allow-list names it, or they have none; and so with their team's."""

    title = "model that it may call"
    parameter_name = "model"
    placeholder = "claude-3-opus-… or claude-*"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(allow_lists.may_call(self.value())) if self.value() else queryset

    def most_frequent(self, api_keys: QuerySet[Any]) -> list[tuple[str, int]]:
        counted = api_keys.values_list("allowed_models", "team__allowed_models").annotate(count=Count("pk"))
        lists = [((own, of_team or []), count) for own, of_team, count in counted.order_by()]
        names = allow_lists.most_named(lists, limit=self.SHOWN)
        return [(name, sum(count for each, count in lists if allow_lists.allows(each, name))) for name in names]


class KeyFilter(TextFilter):
    """The calls of one key. There may be ten thousand, so none is listed."""

    title = "key"
    parameter_name = "api_key__public_id"
    placeholder = "key_…"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.value():
            return queryset
        # The id first: then the index of key and time is read, not a join.
        api_key_id = APIKey.objects.filter(public_id=self.value()).values_list("pk", flat=True).first()
        return queryset.filter(api_key_id=api_key_id) if api_key_id else queryset.none()


class ModelFilter(TextFilter):
    title = "model"
    parameter_name = "model"
    placeholder = "claude-3-opus-… or claude-*"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        name = self.value()
        if not name:
            return queryset
        return queryset.filter(Q(model__startswith=name.removesuffix(WILDCARD)) if is_prefix(name) else Q(model=name))
