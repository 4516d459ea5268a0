"""List filters that keep their state in the URL: time span and free text."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone


class TimeFilter(admin.SimpleListFilter):
    """Filter by age, with a default: a table that grows without limit is never listed as a whole."""

    title = "time"
    parameter_name = "time"
    time_field = "created_at"
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
        return queryset if span is None else queryset.filter((f"{self.time_field}__gte", timezone.now() - span))

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        chosen = self.value() or self.DEFAULT
        for name, label in self.lookup_choices:
            yield {
                "selected": name == chosen,
                "query_string": changelist.get_query_string({self.parameter_name: name}),
                "display": label,
            }


class TextFilter(admin.SimpleListFilter):
    """Filter with a text field, for columns with too many values to list."""

    template = "admin/filters/text.html"
    placeholder = ""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return []

    def has_output(self) -> bool:
        return True

    def value(self) -> str:
        return (super().value() or "").replace("\0", "").strip()  # PostgreSQL rejects NUL in text

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """Yield one choice: the other parameters, which the form keeps, and the query string that clears the filter."""
        others = changelist.get_filters_params()
        yield {
            "hidden": [
                (name, value) for name, values in others.items() if name != self.parameter_name for value in values
            ],
            "query_string": changelist.get_query_string(remove=[str(self.parameter_name)]),
        }
