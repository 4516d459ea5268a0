"""Content of the overview page: first steps, usage, recent errors and items that need attention."""

from typing import Any

from django.urls import reverse

from keys.models import APIKey, ModelPrice, UsageRecord
from keys.reports import charts, usage_report
from keys.reports.date_range import DateRange
from keys.reports.recent_errors import recent_errors
from keys.reports.totals import add_up
from messages_api.models import Route, Upstream
from project.site import attention

DAYS = 14


def overview_for(user: Any) -> dict[str, Any]:
    """Return the parts of the page that the user can view. The number of queries does not depend on the usage."""
    found: dict[str, Any] = {}
    if user.has_perm("messages_api.add_upstream"):
        found["first_steps"] = _first_steps()
    if user.has_perm("keys.view_usagerecord"):
        found |= _usage() | {"errors": recent_errors()}
    if attention.is_relevant_to(user):
        found["attention_items"] = attention.items_for(user)
    return found


def _usage() -> dict[str, Any]:
    days = usage_report.days(DateRange.last_days(DAYS))
    return {
        "today": days[-1].totals,
        "yesterday": days[-2].totals,
        "days": days,
        "report": {"total": add_up([row.totals for row in days])},
        "chart": charts.requests_per_day(days),
    }


def _first_steps() -> list[dict[str, Any]]:
    """Return the setup steps of a new installation in order; none once there are usage records."""
    if UsageRecord.objects.exists():
        return []
    return [
        {
            "text": "Add an upstream: the provider endpoint and its credential.",
            "url": reverse("admin:messages_api_upstream_add"),
            "done": Upstream.objects.exists(),
        },
        {
            "text": "Add a route: map model names to upstreams. * matches every model.",
            "url": reverse("admin:messages_api_route_add"),
            "done": Route.objects.exists(),
        },
        {
            "text": "Add a price per model. Cost budgets reject requests for models without a price.",
            "url": reverse("admin:keys_modelprice_add"),
            "done": ModelPrice.objects.exists(),
        },
        {
            "text": "Issue an API key for an app or a user.",
            "url": reverse("admin:keys_apikey_add"),
            "done": APIKey.objects.exists(),
        },
        {
            "text": "Send a request. The page with the new key shows examples; this page documents the API.",
            "url": reverse("docs"),
            "done": False,
        },
    ]
