"""Lists with keyset pagination: `?before=` or `?after=` a row, without COUNT and OFFSET, in constant time per page."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from lib.admin.model_admin import ReadOnlyModelAdmin

OLDER_VAR = "before"
NEWER_VAR = "after"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Cursor:
    """Position between two rows: the time of a row and its primary key, since rows may share a time."""

    time: datetime
    id: str

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Parse the text form. Raise IncorrectLookupParameters for anything else."""
        microseconds, _, id = text.replace("\0", "").partition(".")  # PostgreSQL rejects NUL in text
        try:
            return cls(_EPOCH + timedelta(microseconds=int(microseconds)), id)
        except (ValueError, OverflowError) as error:
            raise IncorrectLookupParameters from error

    def __str__(self) -> str:
        return f"{(self.time - _EPOCH) // timedelta(microseconds=1)}.{self.id}"

    # The first comparison is redundant, but it is the one that the index serves.
    def older(self, field: str) -> Q:
        """Return the condition of the rows before this position."""
        return Q((f"{field}__lte", self.time)) & (Q((f"{field}__lt", self.time)) | Q(pk__lt=self.id))

    def newer(self, field: str) -> Q:
        """Return the condition of the rows after this position."""
        return Q((f"{field}__gte", self.time)) & (Q((f"{field}__gt", self.time)) | Q(pk__gt=self.id))


class KeysetChangeList(ChangeList):
    """ChangeList in descending order of time, with "Older" and "Newer" links instead of page numbers."""

    model_admin: "KeysetModelAdmin"
    older_link: str | None = None
    newer_link: str | None = None

    @property
    def time_field(self) -> str:
        return self.model_admin.time_field

    def get_filters_params(self, params: Any = None) -> Any:
        found = super().get_filters_params(params)
        return {name: value for name, value in found.items() if name not in (OLDER_VAR, NEWER_VAR)}

    def get_query_string(self, new_params: Any = None, remove: Any = None) -> str:
        """Drop the position: a changed filter starts at its newest row."""
        return super().get_query_string({OLDER_VAR: None, NEWER_VAR: None} | (new_params or {}), remove)

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        return [f"-{self.time_field}", "-pk"]

    def get_results(self, request: HttpRequest) -> None:
        rows, has_newer, has_older = self._page()
        self.result_list = rows
        self.newer_link = self._link(NEWER_VAR, rows[0]) if has_newer and rows else None
        self.older_link = self._link(OLDER_VAR, rows[-1]) if has_older and rows else None
        # Read by the templates. Equal counts suppress "n of m results", which would need a COUNT.
        self.result_count = self.full_result_count = len(rows)
        self.show_full_result_count = self.show_admin_actions = False
        self.can_show_all = self.multi_page = False

    def _page(self) -> tuple[list[Any], bool, bool]:
        """Return the rows, newest first, and whether newer and older ones exist, for which one extra row is read."""
        size = self.list_per_page
        if NEWER_VAR in self.params:
            cursor = Cursor.parse(self.params[NEWER_VAR])
            rows = list(self.queryset.filter(cursor.newer(self.time_field)).reverse()[: size + 1])
            return rows[:size][::-1], len(rows) > size, True
        queryset = self.queryset
        if OLDER_VAR in self.params:
            queryset = queryset.filter(Cursor.parse(self.params[OLDER_VAR]).older(self.time_field))
        rows = list(queryset[: size + 1])
        return rows[:size], OLDER_VAR in self.params, len(rows) > size

    def _link(self, direction: str, row: Any) -> str:
        return self.get_query_string({direction: str(Cursor(getattr(row, self.time_field), row.pk))})


class KeysetModelAdmin(ReadOnlyModelAdmin):
    """Read-only admin of records in order of time."""

    change_list_template = "admin/keyset_list.html"
    time_field = "created_at"
    """The field that orders the rows. It needs an index."""

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[KeysetChangeList]:
        return KeysetChangeList

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Return the row, or None. A primary key may be a text, and PostgreSQL rejects NUL in text."""
        return None if "\0" in object_id else super().get_object(request, object_id, from_field)
