"""What a key used, for whoever holds it: sums of the periods that run now, and buckets of a span. Plain dicts."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

from django.db.models import Count, F, Q, QuerySet, Sum
from django.db.models.functions import TruncMinute
from django.utils import timezone

from keys.models import HourlyUsage, UsageRecord
from lib import periods

REJECTED = Q(status=UsageRecord.Status.REJECTED)
WIDTHS = {"1m": timedelta(minutes=1), "1h": timedelta(hours=1), "1d": timedelta(days=1)}
TOKENS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """Buckets of one width: from the one that `begin` lies in to the one before `end`, `limit` of them at most."""

    begin: datetime
    end: datetime
    width: str
    """`1m`, `1h` or `1d`. Hours and days are those of the reporting time zone."""
    limit: int
    by_model: bool

    def edges(self) -> list[datetime]:
        """Where the buckets begin, and at last where the last one ends."""
        edges = [bucket_of(self.begin, self.width)]
        while edges[-1] < self.end and len(edges) <= self.limit:
            edges.append(_next(edges[-1], self.width))
        return edges


def bucket_of(moment: datetime, width: str) -> datetime:
    """The beginning of the bucket that a moment lies in."""
    if width == "1d":
        return periods.begin_of("day", moment)
    if width == "1h":
        begin = periods.begin_of_hour(moment)
        # Where a clock is moved by half an hour, an hour and a half are one bucket: an hour that lies in another's.
        while (earlier := periods.begin_of_hour(begin)) != begin:
            begin = earlier
        return begin
    return moment.astimezone(UTC).replace(second=0, microsecond=0)


def _next(begin: datetime, width: str) -> datetime:
    if width == "1d":
        end = periods.end_of("day", begin)
        assert end is not None
        return end
    moment = begin + WIDTHS[width]
    while bucket_of(moment, width) == begin:
        moment += WIDTHS[width]
    return bucket_of(moment, width)


def buckets(key_id: int, span: Span) -> dict[str, Any]:
    """The buckets of a span with what the key used in each, and where the next page begins, if there is one."""
    edges = span.edges()
    found: dict[datetime, dict[str | None, Counter[str]]] = {}
    for row in _rows(key_id, edges[0], edges[-1], span.width):
        by_model = found.setdefault(bucket_of(row["moment"], span.width), {})
        by_model.setdefault(row["model"] if span.by_model else None, Counter()).update(_sums(row))
    has_more = edges[-1] < span.end
    return {
        "data": [
            {
                "starting_at": begin.isoformat(),
                "ending_at": end.isoformat(),
                "results": [_said(sums, model=model) for model, sums in sorted(found.get(begin, {}).items(), key=str)],
            }
            for begin, end in pairwise(edges)
        ],
        "has_more": has_more,
        "next_page": edges[-1].isoformat() if has_more else None,
        "time_zone": timezone.get_default_timezone_name(),
    }


def current(key_id: int) -> dict[str, Any]:
    """What the key used today, this week and this month, in the reporting time zone. One query."""
    now = timezone.now()
    begins = {period: periods.begin_of(period, now) for period in ("day", "week", "month")}
    sums: dict[str, Counter[str]] = {period: Counter() for period in begins}
    for row in _rows(key_id, min(begins.values()), now + timedelta(hours=1), "1h"):
        for period, begin in begins.items():
            if row["moment"] >= begin:
                sums[period].update(_sums(row))
    names = {"day": "today", "week": "this_week", "month": "this_month"}
    return {names[period]: {"since": begins[period].isoformat(), **_said(sums[period])} for period in begins}


def _rows(key_id: int, begin: datetime, end: datetime, width: str) -> Iterator[Mapping[str, Any]]:
    """Sums by moment and model. Hours are read where they suffice; minutes are added up from the calls themselves."""
    if width == "1m":
        yield from _minutes(UsageRecord.objects.filter(api_key_id=key_id, created_at__gte=begin, created_at__lt=end))
        return
    hours = HourlyUsage.objects.filter(api_key_id=key_id, hour__gte=begin, hour__lt=end)
    yield from hours.values("model", moment=F("hour")).annotate(
        requests_sum=Sum("requests", filter=~REJECTED, default=0),
        rejected_sum=Sum("requests", filter=REJECTED, default=0),
        unpriced_sum=Sum("unpriced_requests"),
        **_token_sums(),
    )


def _minutes(records: QuerySet[UsageRecord]) -> Iterator[Mapping[str, Any]]:
    settled = records.exclude(status=UsageRecord.Status.STARTED)
    yield from settled.values("model", moment=TruncMinute("created_at", tzinfo=UTC)).annotate(
        requests_sum=Count("pk", filter=~REJECTED),
        rejected_sum=Count("pk", filter=REJECTED),
        unpriced_sum=Count("pk", filter=~REJECTED & Q(cost_usd_micros=None)),
        **_token_sums(),
    )


def _token_sums() -> dict[str, Any]:
    return {
        "input_sum": Sum("input_tokens", default=0),
        "output_sum": Sum("output_tokens", default=0),
        "cache_read_sum": Sum("cache_read_tokens", default=0),
        "cache_write_sum": Sum("cache_write_5m_tokens", default=0) + Sum("cache_write_1h_tokens", default=0),
        "cost_sum": Sum("cost_usd_micros", default=0),
    }


def _sums(row: Mapping[str, Any]) -> dict[str, int]:
    return {name.removesuffix("_sum"): value for name, value in row.items() if name.endswith("_sum")}


def _said(sums: Counter[str], **more: Any) -> dict[str, Any]:
    """Sums as the API says them: money as dollars in decimal digits, without what had no price."""
    return {
        **more,
        "requests": sums["requests"],
        "rejected_requests": sums["rejected"],
        **{name: sums[name.removesuffix("_tokens")] for name in TOKENS},
        "cost_usd": dollars(sums["cost"]),
        "unpriced_requests": sums["unpriced"],
    }


def dollars(micros: int) -> str:
    """Micro-dollars as dollars with six decimals: no digit is lost, and no float is in between."""
    return f"{Decimal(micros) / 1_000_000:.6f}"
