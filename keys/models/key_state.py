"""State of an API key: one rule, for a loaded key and for a query."""

from datetime import datetime
from typing import Any, Protocol

from django.contrib.auth import get_user_model
from django.db import models
from django.db.models import Q

from keys.models.teams import Team
from lib.expiry import has_expired


class HasState(Protocol):
    """The fields of an API key that determine its state."""

    owner: Any
    team: Any
    revoked_at: Any
    disabled_at: Any
    expires_at: Any


class KeyState(models.TextChoices):
    """States in order of precedence: a key has the first that applies. Only an active key is usable."""

    REVOKED = "revoked", "Revoked"
    DISABLED = "disabled", "Disabled"
    TEAM_DISABLED = "team-disabled", "Team disabled"
    OWNER_INACTIVE = "owner-inactive", "Owner inactive"
    EXPIRED = "expired", "Expired"
    ACTIVE = "active", "Active"


BLOCKING = [state for state in KeyState if state != KeyState.ACTIVE]
"""The states in which requests are rejected."""


# The same rule twice, once for Python and once for the database. A test compares them on every combination.


def blocking_states(api_key: HasState, *, now: datetime) -> list[KeyState]:
    """Return every state that blocks a key, in order of precedence. Empty for a usable key."""
    owner, team = api_key.owner, api_key.team
    applies = {
        KeyState.REVOKED: api_key.revoked_at is not None,
        KeyState.DISABLED: api_key.disabled_at is not None,
        KeyState.TEAM_DISABLED: team is not None and team.disabled_at is not None,
        KeyState.OWNER_INACTIVE: not owner.is_active if owner is not None else team is None,
        KeyState.EXPIRED: has_expired(api_key.expires_at, now=now),
    }
    return [state for state in BLOCKING if applies[state]]


def in_state(state: KeyState, *, now: datetime) -> Q:
    """Return a condition for the keys in a state, which no state of higher precedence blocks."""
    # Subqueries instead of joins: a filter that counts every state would join both tables once per state.
    disabled_teams = Team.objects.order_by().filter(disabled_at__isnull=False).values("pk")
    inactive_users = get_user_model().objects.order_by().filter(is_active=False).values("pk")
    applies = {
        KeyState.REVOKED: Q(revoked_at__isnull=False),
        KeyState.DISABLED: Q(disabled_at__isnull=False),
        KeyState.TEAM_DISABLED: Q(team__in=disabled_teams),
        KeyState.OWNER_INACTIVE: Q(owner__in=inactive_users) | Q(owner=None, team=None),
        KeyState.EXPIRED: Q(expires_at__lte=now),
    }
    condition = applies.get(state, Q())
    for stronger in BLOCKING[: list(KeyState).index(state)]:
        condition &= ~applies[stronger]
    return condition
