"""Upstreams on the overview: health, and the requests, errors and latency of the last 24 hours."""

from collections import defaultdict
from dataclasses import dataclass

from django.db.models import Sum
from django.utils import timezone

from keys.explore import intervals
from keys.explore.links import recent_records_url
from keys.explore.question import Filter, Question
from keys.models import HourlyLatency
from keys.models.teams import Teams, of_teams
from keys.reports import totals
from keys.reports.histograms import Histogram
from keys.reports.totals import Totals, from_columns
from messages_api.models import Upstream
from messages_api.routing.upstream_health import UpstreamHealth, health_of

HOURS = "24h"


@dataclass(frozen=True, kw_only=True, slots=True)
class UpstreamStatus:
    """One row of the overview."""

    upstream: Upstream
    health: UpstreamHealth
    totals: Totals
    p95_ms: int | None
    """95th percentile of the latency. None: no request has one."""
    requests_url: str
    errors_url: str


def upstream_statuses(*, teams: Teams) -> list[UpstreamStatus]:
    """Return all upstreams by name. Three queries, of rollups."""
    interval = intervals.preset(HOURS, timezone.now())
    hours = totals.hourly(interval.begin, interval.end).filter(of_teams(teams))
    used = {name: from_columns(columns) for name, *columns in totals.grouped(hours, "upstream")}
    rows = HourlyLatency.objects.filter(hourly_usage__in=hours, measure=HourlyLatency.Measure.DURATION).order_by()
    buckets: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for name, bucket, requests in rows.values_list("hourly_usage__upstream", "bucket").annotate(all=Sum("requests")):
        buckets[name].append((bucket, requests))
    found = []
    for upstream in Upstream.objects.order_by("name"):
        question = Question(interval=interval, filters=(Filter(dimension="upstream", values=(upstream.name,)),))
        percentile = Histogram(buckets[upstream.name]).percentile(95)
        found.append(
            UpstreamStatus(
                upstream=upstream,
                health=health_of(upstream),
                totals=used.get(upstream.name, Totals()),
                p95_ms=None if percentile is None else round(percentile),
                requests_url=recent_records_url(question, measure="requests"),
                errors_url=recent_records_url(question, measure="errors"),
            )
        )
    return found
