"""ChangeList of the explorer: the grammar of questions instead of Django's lookups, and bounded keyset pages."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import QuerySet
from django.http import HttpRequest

from keys.admin.usage_records import columns
from keys.admin.usage_records.drawing import Drawing
from keys.admin.usage_records.selection import Selection
from keys.explore.histogram import histogram
from keys.explore.record_pages import SCANNED, Position, RecordPage, RecordPages, by_request_id, listed
from keys.models import UsageRecord
from lib.admin.keyset_list import NEWER_VAR, OLDER_VAR, Cursor, KeysetChangeList
from lib.query_limit import QueryTimeout, limited

TOO_BROAD = (
    "This search takes longer than five seconds. Choose a shorter range, remove a filter that is compared with single "
    "records, or add a filter by key."
)


class ExplorerChangeList(KeysetChangeList):
    """The usage records that an explorer URL names."""

    selection: Selection
    drawing: Drawing | None = None
    """The histogram; None if it would read too many records."""
    most_scanned = SCANNED
    searched_to: datetime | None = None
    too_broad: str = ""
    is_by_request_id: bool = False
    """Whether the ID is a request ID, which is found at any time."""
    filter_specs: list[Any] = []

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[UsageRecord]:
        self.selection = Selection.of(request)
        return self.apply_select_related(listed(self.selection.question, self.selection.filters, self.root_queryset))

    def get_results(self, request: HttpRequest) -> None:
        page = RecordPage(rows=[])
        try:
            with limited():
                page = self._found_page()
                if not self.is_by_request_id:
                    found = histogram(self.selection.question, self.selection.filters)
                    self.drawing = Drawing(histogram=found, selection=self.selection) if found else None
        except QueryTimeout:
            self.too_broad = TOO_BROAD
        self.result_list = page.rows
        self.searched_to = page.searched_to
        self.older_link = self._position_link(OLDER_VAR, page.older)
        self.newer_link = self._position_link(NEWER_VAR, page.newer)
        self.result_count = self.full_result_count = len(page.rows)
        self.show_full_result_count = self.show_admin_actions = False
        self.can_show_all = self.multi_page = False

    @property
    def is_newer(self) -> bool:
        return NEWER_VAR in self.params

    @property
    def default_columns_url(self) -> str:
        return replace(self.selection, columns=columns.DEFAULT_NAME).url()

    @property
    def suggestions(self) -> list[tuple[str, str]]:
        """Label and URL of wider searches, for a page without a match."""
        found = [
            (f"Search {label.lower()}", self.selection.of_preset(name).url())
            for name, label in (("7d", "7 days"), ("90d", "90 days"), ("12mo", "12 months"))
            if self.selection.is_wider(name)
        ]
        if id := self.selection.filters.id:
            found += [
                (f"Search it as {name} ID", self.selection.id_as(name, id).url()) for name in ("session", "agent")
            ]
        return found

    def _found_page(self) -> RecordPage:
        selection = self.selection
        if selection.filters.id:
            found = by_request_id(selection.question, selection.filters.id, self.root_queryset)
            if rows := list(self.apply_select_related(found)):
                self.is_by_request_id = True
                return RecordPage(rows=rows)
        pages = RecordPages(selection.question, selection.filters, self.queryset, size=self.list_per_page)
        if NEWER_VAR in self.params:
            return pages.newer_than(_position(self.params[NEWER_VAR]))
        return pages.older_than(_position(self.params[OLDER_VAR]) if OLDER_VAR in self.params else None)

    def _position_link(self, direction: str, position: Position | None) -> str | None:
        if position is None:
            return None
        return self.selection.url(position=(direction, str(Cursor(position.time, position.id))))


def _position(text: str) -> Position:
    """Return a position of a URL. Raise IncorrectLookupParameters for anything else, or one out of the calendar."""
    cursor = Cursor.parse(text)
    if not 1990 < cursor.time.year < 2200:
        raise IncorrectLookupParameters
    return Position(cursor.time, cursor.id)
