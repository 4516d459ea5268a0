"""What the first page of the admin shows to one who opens it: how it goes, what to look at, what is to be done."""

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


def of(user: Any) -> dict[str, Any]:
    """The parts of the page that somebody may see. As many queries with a million calls as with ten."""
    found: dict[str, Any] = {}
    if user.has_perm("messages_api.add_upstream"):
        found["first_steps"] = _first_steps()
    if user.has_perm("keys.view_usagerecord"):
        found |= _usage() | {"errors": recent_errors()}
    if attention.concerns(user):
        found["matters"] = attention.items_for(user)
    return found


def _usage() -> dict[str, Any]:
    days = usage_report.days(DateRange.last_days(DAYS))
    return {
        "today": days[-1].totals,
        "yesterday": days[-2].totals,
        "days": days,
        "report": {"total": add_up(row.totals for row in days)},
        "chart": charts.requests_per_day(days),
    }


def _first_steps() -> list[dict[str, Any]]:
    """What a new installation still needs, in order; empty once calls come in."""
    if UsageRecord.objects.exists():
        return []
    return [
        {
            "text": "Add an upstream: the model server that answers, and what to show to it.",
            "address": reverse("admin:messages_api_upstream_add"),
            "done": Upstream.objects.exists(),
        },
        {
            "text": "Add a route: which models go there. * stands for every model.",
            "address": reverse("admin:messages_api_route_add"),
            "done": Route.objects.exists(),
        },
        {
            "text": "Add a price: what tokens cost. Budgets in money let nothing in that has none.",
            "address": reverse("admin:keys_modelprice_add"),
            "done": ModelPrice.objects.exists(),
        },
        {
            "text": "Issue a key, for an app or a person.",
            "address": reverse("admin:keys_apikey_add"),
            "done": APIKey.objects.exists(),
        },
        {
            "text": "Send a first call: the page that shows the key has the lines to paste, this one the whole API.",
            "address": reverse("docs"),
            "done": False,
        },
    ]
