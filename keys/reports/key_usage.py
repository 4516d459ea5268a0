"""Usage of one API key as its own API reports it: totals of current periods, and buckets of a time range."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from django.db.models import F
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import TruncMinute
from django.utils import timezone

from keys.models import UsageRecord
from keys.models.usage import ROLLUP_MODEL
from keys.reports import totals
from keys.reports.totals import Totals, add_up_by
from lib import money, periods

BUCKET_WIDTHS = {"1m": timedelta(minutes=1), "1h": timedelta(hours=1), "1d": timedelta(days=1)}


@dataclass(frozen=True, kw_only=True, slots=True)
class BucketQuery:
    """Buckets of one width, from the one that holds `starting_at` to the one before `ending_at`."""

    starting_at: datetime
    ending_at: datetime
    """Exclusive."""
    bucket_width: str
    """`1m`, `1h` or `1d`. Hours and days are those of the reporting time zone."""
    limit: int
    """Buckets per page."""
    by_model: bool
    by_tag: str = ""
    """The name of the client's tag by whose values usage is grouped, instead of models. Read from usage records."""

    @property
    def group(self) -> str:
        """The field of a result that names its group."""
        return "tag" if self.by_tag else "model"

    def edges(self) -> list[datetime]:
        """Return the start of each bucket of the page, and the end of the last one."""
        edges = [start_of_bucket(self.starting_at, self.bucket_width)]
        while edges[-1] < self.ending_at and len(edges) <= self.limit:
            edges.append(_end_of_bucket(edges[-1], self.bucket_width))
        return edges


def start_of_bucket(moment: datetime, width: str) -> datetime:
    """Return the start of the bucket that holds a moment."""
    if width == "1d":
        return periods.begin_of("day", moment)
    if width == "1h":
        start = periods.begin_of_hour(moment)
        # Where a clock is moved by half an hour, an hour and a half are one bucket: an hour that lies in another's.
        while (earlier := periods.begin_of_hour(start)) != start:
            start = earlier
        return start
    return moment.astimezone(UTC).replace(second=0, microsecond=0)


def _end_of_bucket(start: datetime, width: str) -> datetime:
    if width == "1d":
        end = periods.end_of("day", start)
        assert end is not None
        return end
    moment = start + BUCKET_WIDTHS[width]
    while start_of_bucket(moment, width) == start:
        moment += BUCKET_WIDTHS[width]
    return start_of_bucket(moment, width)


def buckets(key_id: int, query: BucketQuery) -> dict[str, Any]:
    """Return a page of buckets with the usage of a key in each, and the start of the next page, if there is one."""
    edges = query.edges()
    found: dict[datetime, dict[str | None, Totals]] = {}
    is_grouped = query.by_model or query.by_tag
    rows = [
        ((start_of_bucket(moment, query.bucket_width), group if is_grouped else None), part)
        for moment, group, part in _rows(key_id, edges[0], edges[-1], query.bucket_width, tag=query.by_tag)
    ]
    for (start, group), part in add_up_by(rows).items():
        found.setdefault(start, {})[group] = part
    has_more = edges[-1] < query.ending_at
    return {
        "data": [
            {
                "starting_at": start.isoformat(),
                "ending_at": end.isoformat(),
                "results": [
                    {query.group: group, **_as_dict(part)}
                    for group, part in sorted(found.get(start, {}).items(), key=str)
                ],
            }
            for start, end in pairwise(edges)
        ],
        "has_more": has_more,
        "next_page": edges[-1].isoformat() if has_more else None,
        "time_zone": timezone.get_default_timezone_name(),
    }


def current(key_id: int) -> dict[str, Any]:
    """Return the usage of a key today, this week and this month, in the reporting time zone. One query."""
    now = timezone.now()
    starts = {
        name: periods.begin_of(period, now)
        for name, period in {"today": "day", "this_week": "week", "this_month": "month"}.items()
    }
    rows = list(_rows(key_id, min(starts.values()), now + timedelta(hours=1), "1h"))
    by_name = add_up_by([(name, part) for moment, _, part in rows for name, start in starts.items() if moment >= start])
    return {
        name: {"since": start.isoformat(), **_as_dict(by_name.get(name, Totals()))} for name, start in starts.items()
    }


def _rows(
    key_id: int, begin: datetime, end: datetime, width: str, *, tag: str = ""
) -> Iterable[tuple[datetime, str | None, Totals]]:
    """Read settled usage by time and by model or tag: hourly rollups where they suffice, else usage records."""
    hours = totals.hourly(begin, end).filter(api_key_id=key_id)
    rows = totals.grouped(hours, "moment", "model", moment=F("hour"))
    if width == "1m" or tag:
        records = UsageRecord.objects.filter(api_key_id=key_id, created_at__gte=begin, created_at__lt=end).order_by()
        settled = records.exclude(status=UsageRecord.Status.STARTED)
        moment = TruncMinute("created_at", tzinfo=UTC)
        group = KeyTextTransform(tag, "tags") if tag else ROLLUP_MODEL
        rows = totals.grouped(settled, "moment", "group", moment=moment, group=group)
    for moment, group_name, *columns in rows:
        yield moment, group_name, totals.from_columns(columns)


def _as_dict(usage: Totals) -> dict[str, Any]:
    """Return the fields of the API."""
    return {
        "requests": usage.finished,
        "errors": usage.errors,
        "client_errors": usage.client_errors,
        "rejected_requests": usage.rejected,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "cost_usd": money.decimal(usage.cost_picos),
        "unpriced_requests": usage.unpriced,
    }
