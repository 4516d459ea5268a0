"""Base of the ModelAdmins of rows with a team: a user with a scope views the rows of its teams."""

from typing import Any

from django.http import HttpRequest

from keys.access.team_scope import in_scope, teams_of
from lib.admin.model_admin import GatewayModelAdmin


class TeamScopedAdmin(GatewayModelAdmin):
    """ModelAdmin that restricts a user with a scope to the rows of its teams, without changing them.

    The first base of its subclasses. Views that are not in `team_scoped_views` are closed to such users.
    No user deletes rows in bulk.
    """

    team_path = "team"
    """Path of lookups from a row to its team."""
    team_scoped_views: tuple[str, ...] = ("changelist_view", "change_view")
    team_actions: tuple[str, ...] = ()
    """Actions that change nothing, which users with a scope may run."""

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).filter(in_scope(request.user, self.team_path))

    def get_actions(self, request: HttpRequest) -> Any:
        actions = super().get_actions(request)
        # It would query each key's usage: keys are revoked instead. The page of a team says why it cannot be deleted.
        actions.pop("delete_selected", None)
        return actions if self._is_unlimited(request) else {n: a for n, a in actions.items() if n in self.team_actions}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self._is_unlimited(request) and super().has_add_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._is_unlimited(request) and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._is_unlimited(request) and super().has_delete_permission(request, obj)

    def _is_unlimited(self, request: HttpRequest) -> bool:
        return teams_of(request.user) is None
