"""Row actions of the list of API keys: links to the pages that rotate, disable, enable or revoke a key."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from keys.display.state_changes import DISABLE_KEY, ENABLE_KEY, REVOKE_KEY, StateChange
from keys.models import APIKey


class RowAction(NamedTuple):
    """A page of one key that does not change its state; a `StateChange` describes those that do."""

    name: str
    """Last segment of the page's URL, after the key."""
    permission: str
    verb: str
    applies_to: Callable[[APIKey], bool]


ROTATE = RowAction("rotate", "keys.rotate_apikey", "Rotate", lambda api_key: api_key.revoked_at is None)
ROW_ACTIONS: list[RowAction | StateChange] = [ROTATE, DISABLE_KEY, ENABLE_KEY, REVOKE_KEY]


def permitted(request: HttpRequest) -> list[RowAction | StateChange]:
    """Return the actions that the user has the permission for. Called once for all rows."""
    return [each for each in ROW_ACTIONS if request.user.has_perm(each.permission)]


def links(api_key: Any, actions: Iterable[RowAction | StateChange]) -> SafeString:
    """Return links to those of the actions that apply to a key.

    The links are relative to the list: to reverse their URLs would take longer than the rest of the row.
    """
    found = [each for each in actions if each.applies_to(api_key)]
    parts = ((api_key.pk, each.name, each.verb, api_key.name, each.verb) for each in found)
    items = format_html_join("", '<a href="{}/{}/" aria-label="{} {}">{}</a>', parts)
    return format_html('<span class="row-actions">{}</span>', items)
