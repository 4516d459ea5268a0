"""Protection of list filters in URLs: no server error, no disclosure of secret columns, no costly patterns."""

from typing import Any

from django.contrib.admin import SimpleListFilter
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ERROR_FLAG
from django.core.exceptions import FieldDoesNotExist
from django.db import DatabaseError, models
from django.db.models.constants import LOOKUP_SEP
from django.http import HttpRequest

COSTLY_LOOKUPS = {"regex", "iregex"}  # a single pattern can occupy a worker without limit
TEXTS = (models.CharField, models.TextField, models.BinaryField, models.JSONField)


class LookupGuard:
    """Mixin for a ModelAdmin: handle any filter in the URL without a server error or a disclosed secret."""

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Raise IncorrectLookupParameters, which redirects to the unfiltered list, for every filter that fails.

        Django lets some errors pass: years outside the calendar, ranges with one end, values too large for the column.
        An unfiltered list raises its own error.
        """
        try:
            return super().get_changelist_instance(request)  # type: ignore[misc]
        except (IndexError, OverflowError, ValueError, DatabaseError) as error:
            if not set(request.GET) - {ERROR_FLAG}:
                raise
            raise IncorrectLookupParameters from error

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """Reject texts that the list does not show: `?digest__startswith=…` would disclose them letter by letter."""
        if COSTLY_LOOKUPS.intersection(lookup.split(LOOKUP_SEP)):
            return False
        text = self._text_column(lookup)
        if text is not None and text not in self._shown(request):
            return False
        return bool(super().lookup_allowed(lookup, value, request))  # type: ignore[misc]

    def _text_column(self, lookup: str) -> str | None:
        """Return the path to the column of texts that a lookup names; None for another column and for a primary key."""
        model: Any = self.model  # type: ignore[attr-defined]
        parts = lookup.split(LOOKUP_SEP)
        for position, name in enumerate(parts):
            try:
                column = model._meta.get_field(name)
            except FieldDoesNotExist:
                return None
            if not column.is_relation:
                is_secret = isinstance(column, TEXTS) and not column.primary_key
                return LOOKUP_SEP.join(parts[: position + 1]) if is_secret else None
            model = column.related_model
        return None

    def _shown(self, request: HttpRequest) -> set[str]:
        """Return the columns that the list shows, searches or filters by."""
        filters = {
            str(each.parameter_name) if isinstance(each, type) and issubclass(each, SimpleListFilter) else _name(each)
            for each in self.get_list_filter(request)  # type: ignore[attr-defined]
        }
        searched = {name.lstrip("^=@") for name in self.get_search_fields(request)}  # type: ignore[attr-defined]
        return {*filters, *searched, *map(str, self.get_list_display(request))}  # type: ignore[attr-defined]


def _name(list_filter: Any) -> str:
    """Return the column of a filter: a name, or a name with the class of the filter."""
    return str(list_filter if isinstance(list_filter, str) else list_filter[0])
