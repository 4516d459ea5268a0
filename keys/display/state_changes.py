"""State changes of API keys and teams: permission, texts, applicability and effect of each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from keys.models import APIKey, Team

STREAM_TERMINATION_S = 15
"""Upper bound until in-flight streams of a compromised key are terminated: the gateway checks every five seconds, after
the key's snapshot has expired from the cache."""


def propagation_s() -> str:
    """Return the number of seconds until every process sees a change."""
    return f"{settings.CONFIG_CACHE_TTL_S:g}"


@dataclass(frozen=True, kw_only=True, slots=True)
class StateChange:
    """A change of state that one page asks for and the next page confirms."""

    action: str
    """Name of the admin action; the confirmation form sends it again."""
    name: str
    """Last URL segment of the page that changes a single object."""
    permission: str
    verb: str
    done: str
    consequence: str
    """Format string with `{these}` for the objects, `{within}` and `{streams}` for seconds."""
    applies_to: Callable[[Any], bool]
    apply: Callable[..., None]
    one: str = "this key"
    several: str = "these keys"
    needs_reason: bool = False

    def explanation(self) -> str:
        """Describe the consequences for several objects."""
        return self._explanation(self.several)

    def explanation_for_one(self) -> str:
        return self._explanation(self.one)

    def _explanation(self, these: str) -> str:
        return self.consequence.format(these=these, within=propagation_s(), streams=STREAM_TERMINATION_S)


DISABLE_KEY = StateChange(
    action="disable_selected",
    name="disable",
    permission="keys.disable_apikey",
    verb="Disable",
    done="disabled",
    consequence="Requests with {these} are rejected everywhere within {within} seconds. In-flight streams continue. "
    "You can enable {these} again.",
    applies_to=lambda api_key: api_key.disabled_at is None and api_key.revoked_at is None,
    apply=APIKey.disable,
)
ENABLE_KEY = StateChange(
    action="enable_selected",
    name="enable",
    permission="keys.disable_apikey",
    verb="Enable",
    done="enabled",
    consequence="Requests with {these} are accepted again within {within} seconds, unless the key is expired, its "
    "owner is inactive or its team is disabled.",
    applies_to=lambda api_key: api_key.disabled_at is not None and api_key.revoked_at is None,
    apply=APIKey.enable,
)
REVOKE_KEY = StateChange(
    action="revoke_selected",
    name="revoke",
    permission="keys.revoke_apikey",
    verb="Revoke",
    done="revoked",
    consequence="Requests with {these} are rejected everywhere within {within} seconds. In-flight streams continue "
    "unless the reason is “Compromised”; then they are terminated within {streams} seconds. "
    "Revoking cannot be undone. Usage history is kept.",
    applies_to=lambda api_key: api_key.revoked_at is None,
    apply=APIKey.revoke,
    needs_reason=True,
)
DISABLE_TEAM = StateChange(
    action="disable_selected",
    name="disable",
    permission="keys.disable_team",
    verb="Disable",
    done="disabled",
    consequence="Requests with any key of {these} are rejected everywhere within {within} seconds. In-flight streams "
    "continue. You can enable {these} again.",
    applies_to=lambda team: team.disabled_at is None,
    apply=Team.disable,
    one="this team",
    several="these teams",
)
ENABLE_TEAM = StateChange(
    action="enable_selected",
    name="enable",
    permission="keys.disable_team",
    verb="Enable",
    done="enabled",
    consequence="Requests with keys of {these} are accepted again within {within} seconds, unless the key itself is "
    "disabled, revoked or expired.",
    applies_to=lambda team: team.disabled_at is not None,
    apply=Team.enable,
    one="this team",
    several="these teams",
)
