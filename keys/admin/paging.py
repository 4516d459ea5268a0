"""
A list that pages by where it stands and never counts: as fast at a million rows as at ten.

A page is named by the row at its edge (`?before=…` or `?after=…`), so new rows never move what one reads.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.db.models import Q, QuerySet
from django.http import HttpRequest

OLDER_VAR = "before"
NEWER_VAR = "after"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page ends: a moment, and the id of the row, since rows may share a moment."""

    moment: datetime
    id: str

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Read what `str` wrote. Raise IncorrectLookupParameters for anything else."""
        microseconds, _, id = text.replace("\0", "").partition(".")  # PostgreSQL takes no NUL
        try:
            return cls(_EPOCH + timedelta(microseconds=int(microseconds)), id)
        except (ValueError, OverflowError) as error:
            raise IncorrectLookupParameters from error

    def __str__(self) -> str:
        return f"{(self.moment - _EPOCH) // timedelta(microseconds=1)}.{self.id}"

    # The first comparison alone would do, were moments unique; it is the one that an index serves.
    def older(self, field: str) -> Q:
        return Q((f"{field}__lte", self.moment)) & (Q((f"{field}__lt", self.moment)) | Q(pk__lt=self.id))

    def newer(self, field: str) -> Q:
        return Q((f"{field}__gte", self.moment)) & (Q((f"{field}__gt", self.moment)) | Q(pk__gt=self.id))


class KeysetChangeList(ChangeList):
    """Newest first, with "Older" and "Newer" in the place of page numbers."""

    moment = "created_at"
    """The field that the rows are ordered by; it has an index."""
    older_link: str | None = None
    newer_link: str | None = None

    def get_filters_params(self, params: Any = None) -> Any:
        found = super().get_filters_params(params)
        return {name: value for name, value in found.items() if name not in (OLDER_VAR, NEWER_VAR)}

    def get_query_string(self, new_params: Any = None, remove: Any = None) -> str:
        """A changed filter begins at its newest row."""
        return super().get_query_string({OLDER_VAR: None, NEWER_VAR: None} | (new_params or {}), remove)

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        return [f"-{self.moment}", "-pk"]

    def get_results(self, request: HttpRequest) -> None:
        rows, has_newer, has_older = self._page()
        self.result_list = rows
        self.newer_link = self._link(NEWER_VAR, rows[0]) if has_newer and rows else None
        self.older_link = self._link(OLDER_VAR, rows[-1]) if has_older and rows else None
        # What the templates ask for; equal counts: no "n of m results", which would need a COUNT.
        self.result_count = self.full_result_count = len(rows)
        self.show_full_result_count = self.show_admin_actions = False
        self.can_show_all = self.multi_page = False

    def _page(self) -> tuple[list[Any], bool, bool]:
        """The rows, newest first, and whether there are newer and older ones. One row more than shown tells."""
        size = self.list_per_page
        if NEWER_VAR in self.params:
            edge = Cursor.parse(self.params[NEWER_VAR])
            rows = list(self.queryset.filter(edge.newer(self.moment)).reverse()[: size + 1])
            return rows[:size][::-1], len(rows) > size, True
        queryset = self.queryset
        if OLDER_VAR in self.params:
            queryset = queryset.filter(Cursor.parse(self.params[OLDER_VAR]).older(self.moment))
        rows = list(queryset[: size + 1])
        return rows[:size], OLDER_VAR in self.params, len(rows) > size

    def _link(self, direction: str, row: Any) -> str:
        return self.get_query_string({direction: str(Cursor(getattr(row, self.moment), row.pk))})
