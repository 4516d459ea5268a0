"""The three changes of a key's state, as admins meet them: what each does, promises, and for which keys."""

from collections.abc import Callable
from dataclasses import dataclass

from django.conf import settings

from keys.models import APIKey


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A change of state that is asked for on one page and confirmed on the next."""

    action: str
    """The admin's action, which the confirmation sends again."""
    verb: str
    done: str
    promise: str
    applies_to: Callable[[APIKey], bool]
    apply: Callable[..., None]
    needs_reason: bool = False

    def explanation(self) -> str:
        return self.promise.format(seconds=f"{settings.SNAPSHOT_TTL_S:g}")


DISABLE = Change(
    action="disable_selected",
    verb="Disable",
    done="disabled",
    promise="Calls with these keys are refused everywhere within {seconds} seconds. Running streams are not cut. "
    "You can enable the keys again.",
    applies_to=lambda api_key: api_key.disabled_at is None and api_key.revoked_at is None,
    apply=APIKey.disable,
)
ENABLE = Change(
    action="enable_selected",
    verb="Enable",
    done="enabled",
    promise="These keys work again within {seconds} seconds, until they expire. A revoked key stays revoked.",
    applies_to=lambda api_key: api_key.disabled_at is not None and api_key.revoked_at is None,
    apply=APIKey.enable,
)
REVOKE = Change(
    action="revoke_selected",
    verb="Revoke",
    done="revoked",
    promise="Calls with these keys are refused everywhere within {seconds} seconds. Running streams are not cut. "
    "Nothing brings a revoked key back; its history stays.",
    applies_to=lambda api_key: api_key.revoked_at is None,
    apply=APIKey.revoke,
    needs_reason=True,
)
