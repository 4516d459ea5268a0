"""Scope of a user of the admin: the teams whose keys, usage and budgets the user may view."""

from typing import Any

from django.db.models import Q

from keys.models.teams import Teams, of_teams

ALL_TEAMS = "keys.view_all_teams"


def teams_of(user: Any) -> Teams:
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
    return of_teams(teams_of(user), path)


# ---- Views. A user with a scope opens only those that are marked: a page that forgets its scope is closed, not open.


def team_scoped(view: Any) -> Any:
    """Mark a view: it shows each user only rows of the teams of `teams_of`."""
    view.is_team_scoped = True
    return view


def is_team_scoped(view: Any) -> bool:
    """Return whether a view is marked, or is one of the views that its ModelAdmin names in `team_scoped_views`."""
    views = getattr(getattr(view, "__self__", None), "team_scoped_views", ())
    return getattr(view, "is_team_scoped", False) or getattr(view, "__name__", "") in views
