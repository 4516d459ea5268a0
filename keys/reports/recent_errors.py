"""Latest errors of all API keys."""

from keys.models import UsageRecord
from keys.models.teams import Teams, of_teams
from keys.models.usage import IS_ERROR

SHOWN = 8
MOST = 5_000
"""Number of latest requests that are searched: where errors are rare, a page must not read all requests."""


def recent_errors(teams: Teams = None) -> list[UsageRecord]:
    """Return the errors among the latest requests, of all or of some teams, newest first. Two queries."""
    latest = UsageRecord.objects.order_by("-created_at")
    beyond = list(latest.values_list("created_at", flat=True)[MOST : MOST + 1])
    errors = latest.filter(IS_ERROR, of_teams(teams)).select_related("api_key").defer("attempts", "reservations")
    return list((errors.filter(created_at__gt=beyond[0]) if beyond else errors)[:SHOWN])
