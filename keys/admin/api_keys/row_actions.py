"""What the list of keys leads to from each row: the pages that rotate, pause or end that key."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from keys.display.state_changes import DISABLE_KEY, ENABLE_KEY, REVOKE_KEY, StateChange
from keys.models import APIKey


class RowAction(NamedTuple):
    """A page of one key that changes no state of it. Those that do are `StateChange`s."""

    name: str
    """The end of the page's address, after the key."""
    permission: str
    verb: str
    applies_to: Callable[[APIKey], bool]


ROTATE = RowAction("rotate", "keys.rotate_apikey", "Rotate", lambda api_key: api_key.revoked_at is None)
ROW_ACTIONS: list[RowAction | StateChange] = [ROTATE, DISABLE_KEY, ENABLE_KEY, REVOKE_KEY]


def allowed(request: HttpRequest) -> list[RowAction | StateChange]:
    """Those that this person may do to some key: asked once, for all rows."""
    return [each for each in ROW_ACTIONS if request.user.has_perm(each.permission)]


def links(api_key: Any, actions: Iterable[RowAction | StateChange]) -> SafeString:
    """To those that apply to a key. Relative to the list: an address that is looked up takes longer than the row."""
    found = [each for each in actions if each.applies_to(api_key)]
    parts = ((api_key.pk, each.name, each.verb, api_key.name, each.verb) for each in found)
    items = format_html_join("", '<a href="{}/{}/" aria-label="{} {}">{}</a>', parts)
    return format_html('<span class="row-actions">{}</span>', items)
