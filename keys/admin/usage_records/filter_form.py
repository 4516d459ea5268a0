"""Choices of the explorer's filter form. `canonical` adds its fields to the URL."""

from django.contrib.auth import get_user_model
from django.http import HttpRequest
from django.utils.functional import cached_property

from keys.access.team_scope import in_scope, teams_of
from keys.admin.usage_records import columns
from keys.explore.dimensions import DIMENSIONS
from keys.models import APIKey, Team, UsageRecord
from keys.reports.totals import named_models

MOST = 500
"""Choices of one field. Others are typed into the URL, or chosen in Explore."""
SUGGESTED_MODELS = 200


class FilterForm:
    """What the form offers to a user: only names within its scope. One query for each field that is shown."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request
        self._is_scoped = teams_of(request.user) is not None

    @cached_property
    def keys(self) -> list[tuple[str, str]]:
        found = APIKey.objects.filter(in_scope(self._request.user, "team")).order_by("name", "pk")
        return list(found.values_list("public_id", "name")[:MOST])

    @cached_property
    def teams(self) -> list[tuple[int, str]]:
        found = Team.objects.filter(in_scope(self._request.user, "pk")).order_by("name")
        return list(found.values_list("pk", "name")[:MOST])

    @cached_property
    def owners(self) -> list[tuple[int, str]]:
        """Users that own a key. None for a user whose scope is its teams: their keys have no other owner."""
        if self._is_scoped:
            return []
        owning = APIKey.objects.filter(owner__isnull=False).values("owner")
        users = get_user_model().objects.filter(pk__in=owning).order_by("username")
        return [(user.pk, str(user)) for user in users[:MOST]]

    @cached_property
    def models(self) -> list[str]:
        """Models that were ever requested. None for a scoped user, who must not see those of other teams."""
        return [] if self._is_scoped else [name for name in named_models(limit=SUGGESTED_MODELS) if name]

    @property
    def outcomes(self) -> list[tuple[str, str]]:
        return list(UsageRecord.Status.choices)

    @property
    def usage_sources(self) -> list[tuple[str, str]]:
        return list(UsageRecord.UsageSource.choices)

    @property
    def api_formats(self) -> list[tuple[str, str]]:
        return list(DIMENSIONS["api_format"].labels(["envelope", "anthropic"], None).items())

    @property
    def columns(self) -> list[tuple[str, str, bool]]:
        """Name, label and whether it is shown, of each column."""
        shown = columns.chosen(self._request)
        return [(name, label, name in shown) for name, label in columns.COLUMNS.items()]
