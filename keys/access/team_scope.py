"""Scope of a user of the admin: the teams whose keys, usage and budgets the user may view."""

from typing import Any

from django.db.models import Q

ALL_TEAMS = "keys.view_all_teams"


def teams_of(user: Any) -> frozenset[int] | None:
    """Return the IDs of the teams that the user may view; None: all teams, and keys of users.

    Without the permission for all teams, a user views the teams of which it is a member. A new group lacks the
    permission until an administrator grants it. One query per user object.
    """
    if user.has_perm(ALL_TEAMS):
        return None
    if not user.is_active or user.pk is None:
        return frozenset()
    if not hasattr(user, "_team_scope"):
        user._team_scope = frozenset(user.teams.values_list("pk", flat=True))
    scope: frozenset[int] = user._team_scope
    return scope


def in_scope(user: Any, path: str) -> Q:
    """Return the condition of the rows whose team, at a path of lookups such as `api_key__team`, the user may view."""
    teams = teams_of(user)
    return Q() if teams is None else Q(**{f"{path}__in": teams})
