"""Content of the overview page: first steps, usage, budgets, movers, upstreams, errors and what needs attention."""

from dataclasses import replace
from typing import Any

from django.urls import reverse
from django.utils import timezone

from keys.access.team_scope import teams_of
from keys.explore import intervals
from keys.explore.intervals import Interval
from keys.explore.links import recent_records_url
from keys.explore.question import Filter, Question
from keys.forms.find_key import FindKeyForm
from keys.models import APIKey, ModelPrice, UsageRecord
from keys.models.teams import Teams
from keys.reports import charts
from keys.reports.month_spend import month_spend
from keys.reports.movers import Mover, Movers, top_movers
from keys.reports.recent_errors import recent_errors
from keys.reports.recent_usage import RecentUsage, recent_usage
from keys.reports.totals import Totals, add_up
from messages_api.models import Route, Upstream
from project.site import attention
from project.site.upstream_status import upstream_statuses

DAYS = 14
CARDS = [
    ("Requests", "requests", "requests"),
    ("Input tokens", "all_input_tokens", "input_tokens"),
    ("Output tokens", "output_tokens", "output_tokens"),
    ("Cost", "cost_picos", "cost"),
    ("Errors", "errors", "errors"),
    ("Rejected", "rejected", "rejected"),
]
"""Label, figure of the totals, and measure of the records behind it."""


def overview_for(user: Any) -> dict[str, Any]:
    """Return the parts of the page that the user can view. The number of queries does not depend on the usage."""
    found: dict[str, Any] = {"now": timezone.now()}
    teams = teams_of(user)
    if user.has_perm("messages_api.add_upstream"):
        found["first_steps"] = _first_steps()
    if user.has_perm("keys.view_apikey"):
        found["find_form"] = FindKeyForm()
    if user.has_perm("keys.view_usagerecord"):
        found |= _usage(teams, with_keys=user.has_perm("keys.view_apikey"))
        found["errors"] = recent_errors(teams)
    if user.has_perm("messages_api.view_upstream"):
        found["upstreams"] = upstream_statuses(teams=teams)
    if attention.is_relevant_to(user):
        found["attention_items"] = attention.items_for(user)
    return found


def _usage(teams: Teams, *, with_keys: bool) -> dict[str, Any]:
    usage = recent_usage(DAYS, teams=teams)
    days = usage.days
    month = month_spend(teams=teams)
    movers = top_movers(teams=teams, with_keys=with_keys)
    return {
        "usage": usage,
        "cards": _cards(usage),
        "days": days,
        "report": {"total": add_up([row.totals for row in days])},
        "chart": charts.requests_per_day(days),
        "month": month,
        "month_url": recent_records_url(Question(interval=Interval(begin=month.begin, end=month.end)), measure="cost"),
        "movers": movers,
        "mover_rows": [_mover_row(each, movers) for each in movers.movers],
    }


def _cards(usage: RecentUsage) -> list[dict[str, Any]]:
    today = intervals.preset("today", usage.now)
    until_now = Question(interval=Interval(begin=today.begin, end=usage.now))
    yesterday = intervals.preset("yesterday", usage.now)
    until_same_time = Question(interval=Interval(begin=yesterday.begin, end=usage.same_time))
    return [
        {
            "label": label,
            "unit": "usd" if measure == "cost" else "",
            "value": getattr(usage.today, figure),
            "before": getattr(usage.yesterday, figure),
            "note": _note(measure, usage.today),
            "is_unpriced": measure == "cost" and usage.today.is_unpriced,
            "was_unpriced": measure == "cost" and usage.yesterday.is_unpriced,
            "is_bad": measure == "errors" and usage.today.errors > 0,
            "url": recent_records_url(until_now, measure=measure),
            "url_before": recent_records_url(until_same_time, measure=measure),
        }
        for label, figure, measure in CARDS
    ]


def _note(measure: str, today: Totals) -> str:
    match measure:
        case "requests":
            return f"{today.in_flight:,} in flight" if today.in_flight else ""
        case "input_tokens":
            return f"{today.cache_read_tokens:,} cached"
        case "cost" if today.unpriced:
            return f"{today.unpriced:,} unpriced request{'' if today.unpriced == 1 else 's'}"
        case "errors" if today.client_errors:
            return f"{today.client_errors:,} by clients"
    return ""


def _mover_row(mover: Mover, movers: Movers) -> dict[str, Any]:
    """Return a mover with the links to the records of both weeks."""
    question = Question(filters=(Filter(dimension=mover.dimension, values=(mover.value,)),))
    before, after = (
        recent_records_url(replace(question, interval=interval), measure=mover.measure)
        for interval in (
            Interval(begin=movers.begin, end=movers.middle),
            Interval(begin=movers.middle, end=movers.end),
        )
    )
    return {"mover": mover, "url_before": before, "url_after": after}


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
