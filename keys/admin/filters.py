"""The filters of the lists of keys and calls. Each keeps its state in the URL."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from keys.models import APIKey

SOON = timedelta(days=14)
LONG_AGO = timedelta(days=90)


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state, state.capitalize()) for state in ("usable", "expired", "disabled", "revoked")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        match self.value():
            case "usable":
                return queryset.usable()
            case "expired":
                return queryset.expired().filter(disabled_at=None)  # a disabled key is shown as disabled
            case "disabled":
                return queryset.disabled()
            case "revoked":
                return queryset.revoked()
        return queryset


class AttentionFilter(admin.SimpleListFilter):
    """Usable keys that somebody should look at."""

    title = "attention"
    parameter_name = "look"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("expiring", f"Expires within {SOON.days} days"),
            ("endless", "Never expires"),
            ("idle", f"Unused for {LONG_AGO.days} days"),
        ]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        now = timezone.now()
        match self.value():
            case "expiring":
                return queryset.usable().filter(expires_at__lte=now + SOON)
            case "endless":
                return queryset.usable().filter(expires_at=None)
            case "idle":
                lately_used = APIKey.objects.filter(secrets__last_used_at__gt=now - LONG_AGO).values("pk")
                return queryset.usable().filter(created_at__lte=now - LONG_AGO).exclude(pk__in=lately_used)
        return queryset


class TimeFilter(admin.SimpleListFilter):
    """How far back a list reaches. It has a default: nobody reads a table that grows for ever as a whole."""

    title = "time"
    parameter_name = "time"
    moment = "created_at"
    SPANS = {
        "hour": ("Last hour", timedelta(hours=1)),
        "day": ("Last 24 hours", timedelta(days=1)),
        "week": ("Last 7 days", timedelta(days=7)),
        "month": ("Last 30 days", timedelta(days=30)),
        "all": ("Any time", None),
    }
    DEFAULT = "day"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, label) for name, (label, _) in self.SPANS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        _, span = self.SPANS.get(self.value() or self.DEFAULT, self.SPANS[self.DEFAULT])
        return queryset if span is None else queryset.filter((f"{self.moment}__gte", timezone.now() - span))

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        chosen = self.value() or self.DEFAULT
        for name, label in self.lookup_choices:
            yield {
                "selected": name == chosen,
                "query_string": changelist.get_query_string({self.parameter_name: name}),
                "display": label,
            }


class TextFilter(admin.SimpleListFilter):
    """A filter with a field to type into, for what has too many values to list."""

    template = "keys/text_filter.html"
    placeholder = ""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return []

    def has_output(self) -> bool:
        return True

    def value(self) -> str:
        return (super().value() or "").replace("\0", "").strip()  # PostgreSQL takes no NUL

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """One choice: the other parameters, so that the field's form keeps them, and the way to clear it."""
        others = changelist.get_filters_params()
        yield {
            "hidden": [
                (name, value) for name, values in others.items() if name != self.parameter_name for value in values
            ],
            "query_string": changelist.get_query_string(remove=[str(self.parameter_name)]),
        }


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
        return queryset.filter(Q(model__startswith=name[:-1]) if name.endswith("*") else Q(model=name))
