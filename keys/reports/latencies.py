"""Latency and time to first token of sets of requests, from the histograms of their hourly rollups."""

from dataclasses import dataclass

from django.db.models import QuerySet, Sum

from keys.models import HourlyLatency, HourlyUsage
from keys.reports.histograms import Histogram

Measure = HourlyLatency.Measure


@dataclass(frozen=True, kw_only=True, slots=True)
class Latencies:
    """Histograms of requests, of those that have the latency."""

    duration: Histogram
    ttft: Histogram

    @property
    def shown(self) -> list[tuple[str, int, int]]:
        """Label, median and 95th percentile in milliseconds of each measure that any request has."""
        pairs = ((Measure.DURATION.label, self.duration), (Measure.TTFT.label, self.ttft))
        return [
            (str(label), round(each.percentile(50) or 0), round(each.percentile(95) or 0))
            for label, each in pairs
            if each.requests
        ]


def latencies(hours: QuerySet[HourlyUsage]) -> Latencies:
    """Merge the histograms of hourly rollups. One query."""
    rows = HourlyLatency.objects.filter(hourly_usage__in=hours).order_by().values_list("measure", "bucket")
    found: dict[str, list[tuple[int, int]]] = {measure: [] for measure in Measure.values}
    for measure, bucket, requests in rows.annotate(total=Sum("requests")):
        found[measure].append((bucket, requests))
    return Latencies(duration=Histogram(found[Measure.DURATION]), ttft=Histogram(found[Measure.TTFT]))
