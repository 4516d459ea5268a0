"""Saved views of the usage page: listed, saved, shared and deleted."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import permission_required
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.views.decorators.http import require_POST

from keys.access.team_scope import team_scoped
from keys.explore.question import Question, parse
from keys.models import SavedView
from keys.models.saved_views import LONGEST_QUERY

SHARE = "keys.share_savedview"
MOST_VIEWS = 100
LONGEST_NAME = 80


def saved_views(user: Any, question: Question) -> dict[str, Any]:
    """Return the views that a user has or that are shared. One query.

    A user with a scope has only its own: the names and queries of others may name other teams.
    """
    is_visible = Q(owner=user) if question.teams is not None else Q(owner=user) | Q(is_shared=True)
    rows = SavedView.objects.filter(is_visible).select_related("owner")[: 2 * MOST_VIEWS]
    query = question.query()
    return {
        "query": query,
        "may_share": question.teams is None and user.has_perm(SHARE),
        "views": [{"view": row, "is_own": row.owner_id == user.pk, "is_shown": row.query == query} for row in rows],
    }


@team_scoped
@permission_required("keys.view_usagerecord", raise_exception=True)
@require_POST
def change_views(request: HttpRequest) -> HttpResponse:
    """Save a view, delete one of the user, or share it with all users."""
    action = request.POST.get("do", "")
    if action == "save":
        return _save(request)
    pk = request.POST.get("view", "")
    row = get_object_or_404(
        SavedView, pk=int(pk) if pk.isascii() and pk.isdigit() and len(pk) < 19 else 0, owner_id=request.user.pk
    )
    if action == "delete":
        row.delete()
        messages.success(request, f"The view “{row.name}” was deleted.")
    elif action == "share":
        _share(request, row)
    return _back(row.query)


def _save(request: HttpRequest) -> HttpResponse:
    """Save the question of the form under a name, or replace the user's view with this name."""
    query = parse(QueryDict(request.POST.get("query", "")[:LONGEST_QUERY]))[0].query()
    name = " ".join(request.POST.get("name", "").replace("\0", "").split())[:LONGEST_NAME]
    of_user = SavedView.objects.filter(owner_id=request.user.pk)
    if not name or len(query) > LONGEST_QUERY:
        messages.error(request, "This question is too long to be saved." if name else "Enter a name.")
    elif of_user.count() >= MOST_VIEWS:
        messages.error(request, f"A user has at most {MOST_VIEWS} saved views: delete one.")
    else:
        # In single statements that the audit log sees, without a race that matters: the same user saves twice.
        row = of_user.filter(name=name).first() or SavedView(owner=request.user, name=name)  # type: ignore[misc]  # signed in
        row.query = query
        row.save()
        messages.success(request, f"The view “{name}” was saved.")
    return _back(query)


def _share(request: HttpRequest, row: SavedView) -> None:
    """Share a view with all users, or stop sharing it. Raise PermissionDenied without the permission."""
    if not request.user.has_perm(SHARE):
        raise PermissionDenied
    row.is_shared = not row.is_shared
    row.save(update_fields=["is_shared"])
    messages.success(request, f"The view “{row.name}” is {'shared' if row.is_shared else 'no longer shared'}.")


def _back(query: str) -> HttpResponse:
    return HttpResponseRedirect(f"{reverse('admin:usage')}?{query}")
