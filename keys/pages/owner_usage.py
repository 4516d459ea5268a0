"""Pages of an owner of keys: spend, requests, models, keys, budgets with forecast, and latest errors."""

from typing import Any
from urllib.parse import urlencode

from django.contrib.auth import get_user_model
from django.contrib.auth.decorators import permission_required
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_GET

from keys.models import APIKey, Team
from keys.reports import charts, forecast
from keys.reports.owner_usage import DAYS, owner_usage
from lib.admin.render import admin_page

VIEW_USAGE = "keys.view_usagerecord"
RANGE = f"{DAYS}d"


def team_page(request: HttpRequest, team: Team) -> HttpResponse:
    """Show the usage of a team that the user may view."""
    if not request.user.has_perm(VIEW_USAGE):
        raise PermissionDenied
    context = {
        "title": team.name,
        "team": team,
        "budget_meters": forecast.team_budget_meters(team),
        "keys_count": team.api_keys.count(),
        "keys_url": reverse("admin:keys_apikey_changelist", query={"team": team.name}),
    }
    return _page(request, context, owner={"team": team.pk}, condition=Q(team_id=team.pk))


@require_GET
@permission_required(VIEW_USAGE, raise_exception=True)
def user_page(request: HttpRequest, object_id: str) -> HttpResponse:
    """Show the usage of the keys of a user. Users with a scope cannot open it: its keys have no team."""
    if not (object_id.isascii() and object_id.isdigit() and len(object_id) < 16):
        raise Http404
    user = get_user_model().objects.filter(pk=object_id).first()
    if user is None:
        raise Http404
    context = {
        "title": user.get_username(),
        "keys_count": APIKey.objects.filter(owner=user).count(),
        "keys_url": reverse("admin:keys_apikey_changelist", query={"owner": user.get_username()}),
    }
    return _page(request, context, owner={"owner": user.pk}, condition=Q(owner_id=user.pk))


def _page(request: HttpRequest, context: dict[str, Any], *, owner: dict[str, int], condition: Q) -> HttpResponse:
    usage = owner_usage(condition)
    selection = urlencode({"range": RANGE, **owner})
    links = {
        "explore_url": f"{reverse('admin:usage')}?{selection}",
        "records_url": f"{reverse('admin:keys_usagerecord_changelist')}?{selection}",
    }
    context |= {"usage": usage, "chart": charts.requests_per_day(usage.days), "shown_days": DAYS, **links}
    return admin_page(request, "keys/teams/usage.html", context)
