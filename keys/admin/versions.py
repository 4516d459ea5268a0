"""Versions with a start time, in the lists of prices and negotiated factors: active, scheduled or superseded."""

from typing import Any

from django.contrib import admin
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString

from lib.admin import cells

STATES = {"active": "good", "scheduled": "quiet", "superseded": "warn"}


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state, state.capitalize()) for state in STATES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case "active":
                return queryset.filter(valid_from__lte=timezone.now(), is_superseded=False)
            case "scheduled":
                return queryset.filter(valid_from__gt=timezone.now())
            case "superseded":
                return queryset.filter(is_superseded=True)
        return queryset


class Versions:
    """Mixin for a ModelAdmin: the columns `state` and `start`."""

    version_of: tuple[str, ...] = ()
    """Fields that are the same in all versions."""

    @admin.display(description="state")
    def state(self, row: Any) -> SafeString:
        state = "scheduled" if row.valid_from > timezone.now() else "superseded" if row.is_superseded else "active"
        return cells.badge(state, kind=STATES[state])

    @admin.display(description="valid from", ordering="valid_from")
    def start(self, row: Any) -> SafeString | str:
        return cells.exact(row.valid_from)

    def get_queryset(self, request: HttpRequest) -> Any:
        same = self.model.objects.filter(**{name: OuterRef(name) for name in self.version_of})  # type: ignore[attr-defined]
        later = same.filter(valid_from__gt=OuterRef("valid_from"), valid_from__lte=timezone.now())
        return super().get_queryset(request).annotate(is_superseded=Exists(later))  # type: ignore[misc]
