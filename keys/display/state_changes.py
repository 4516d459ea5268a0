"""The three changes of a key's state, as admins meet them: what each does, promises, and for which keys."""

from collections.abc import Callable
from dataclasses import dataclass

from django.conf import settings

from keys.models import APIKey

STREAMS_END_WITHIN_S = 15
"""How long a stream of a compromised key may go on: the gateway looks every five seconds, after its snapshot's life."""


def within() -> str:
    """How many seconds a change may take to reach every process."""
    return f"{settings.CONFIG_CACHE_TTL_S:g}"


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyStateChange:
    """A change of state that is asked for on one page and confirmed on the next."""

    action: str
    """The admin's action, which the confirmation sends again."""
    name: str
    """Of the page that does it to one key."""
    permission: str
    verb: str
    done: str
    promise: str
    """Says `{these}` for the keys, and `{within}` for the seconds."""
    applies_to: Callable[[APIKey], bool]
    apply: Callable[..., None]
    needs_reason: bool = False

    def explanation(self) -> str:
        """What will happen to several keys."""
        return self.promise.format(these="these keys", within=within(), streams=STREAMS_END_WITHIN_S)

    def explanation_for_one(self) -> str:
        return self.promise.format(these="this key", within=within(), streams=STREAMS_END_WITHIN_S)


DISABLE = KeyStateChange(
    action="disable_selected",
    name="disable",
    permission="keys.disable_apikey",
    verb="Disable",
    done="disabled",
    promise="Calls with {these} are refused everywhere within {within} seconds. Running streams are not cut. "
    "You can enable {these} again.",
    applies_to=lambda api_key: api_key.disabled_at is None and api_key.revoked_at is None,
    apply=APIKey.disable,
)
ENABLE = KeyStateChange(
    action="enable_selected",
    name="enable",
    permission="keys.disable_apikey",
    verb="Enable",
    done="enabled",
    promise="Calls with {these} are let in again within {within} seconds, as long as nothing else stands against it: "
    "an expired key stays expired.",
    applies_to=lambda api_key: api_key.disabled_at is not None and api_key.revoked_at is None,
    apply=APIKey.enable,
)
REVOKE = KeyStateChange(
    action="revoke_selected",
    name="revoke",
    permission="keys.revoke_apikey",
    verb="Revoke",
    done="revoked",
    promise="Calls with {these} are refused everywhere within {within} seconds. Running streams are not cut, unless "
    "the reason is that somebody else may have the key: then they end within {streams} seconds. "
    "Nothing brings a revoked key back; its history stays.",
    applies_to=lambda api_key: api_key.revoked_at is None,
    apply=APIKey.revoke,
    needs_reason=True,
)
