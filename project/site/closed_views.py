"""Views that are closed to users with a scope."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse

from keys.access.team_scope import is_team_scoped, teams_of


def closed_out_of_scope(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Wrap a view: raise PermissionDenied for a user with a scope unless the view is marked."""

    @wraps(view)
    def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not is_team_scoped(view) and teams_of(request.user) is not None:
            raise PermissionDenied
        return view(request, *args, **kwargs)

    return checked
