"""What the list of keys leads to from each row: the pages that rotate, pause or end that key."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from keys.lifecycle import DISABLE, ENABLE, REVOKE
from keys.models import APIKey


@dataclass(frozen=True, kw_only=True, slots=True)
class RowAction:
    """A page of one key."""

    page: str
    """The end of its address, after the key."""
    permission: str
    verb: str
    applies_to: Callable[[APIKey], bool]


ROTATE = RowAction(
    page="rotate",
    permission="keys.rotate_apikey",
    verb="Rotate",
    applies_to=lambda api_key: api_key.revoked_at is None,
)
ROW_ACTIONS = [
    ROTATE,
    *(
        RowAction(page=each.name, permission=each.permission, verb=each.verb, applies_to=each.applies_to)
        for each in (DISABLE, ENABLE, REVOKE)
    ),
]


def allowed(request: HttpRequest) -> list[RowAction]:
    """Those that this person may do to some key: asked once, for all rows."""
    may: dict[str, bool] = {each.permission: request.user.has_perm(each.permission) for each in ROW_ACTIONS}
    return [each for each in ROW_ACTIONS if may[each.permission]]


def links(api_key: Any, actions: Iterable[RowAction]) -> SafeString:
    """To those that apply to a key. Relative to the list: an address that is looked up takes longer than the row."""
    found = [each for each in actions if each.applies_to(api_key)]
    parts = ((api_key.pk, each.page, each.verb, api_key.name, each.verb) for each in found)
    items = format_html_join("", '<a href="{}/{}/" aria-label="{} {}">{}</a>', parts)
    return format_html('<span class="row-actions">{}</span>', items)
