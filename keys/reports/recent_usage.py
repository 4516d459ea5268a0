"""Usage of the last days, with today and yesterday until the same time of day: equal parts of both days."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

from keys.models import UsageRecord
from keys.models.teams import Teams, of_teams
from keys.reports import totals
from keys.reports.date_range import DateRange, index_of_day, start_of
from keys.reports.totals import Totals, add_up, add_up_by
from keys.reports.usage_report import ReportRow, rows_by_day
from lib import periods


@dataclass(frozen=True, kw_only=True, slots=True)
class RecentUsage:
    """The last days up to now."""

    now: datetime
    days: list[ReportRow]
    """In order, today last."""
    yesterday: Totals
    """Yesterday until `same_time`."""
    same_time: datetime
    """The time of day of `now`, yesterday."""

    @property
    def today(self) -> Totals:
        totals: Totals = self.days[-1].totals
        return totals


def recent_usage(days: int, *, teams: Teams) -> RecentUsage:
    """Read the last days, of some teams or of all keys (None). Three queries.

    They read hourly rollups, in-flight requests, and of yesterday the records of one hour at most: the part of the hour
    that has passed today.
    """
    now = timezone.now()
    local = timezone.localtime(now, periods.zone())
    # Not 24 hours ago: a day with a clock change has 23 or 25.
    same_time = (local.replace(tzinfo=None) - timedelta(days=1)).replace(tzinfo=local.tzinfo)
    return RecentUsage(
        now=now,
        days=_days(DateRange.last_days(days), teams),
        yesterday=_until(same_time, teams),
        same_time=same_time,
    )


def _days(dates: DateRange, teams: Teams) -> list[ReportRow]:
    calendar = dates.days()
    begin, end = dates.bounds()
    settled = totals.hourly(begin, end).filter(of_teams(teams))
    in_flight = totals.in_flight(begin, end).filter(of_teams(teams))
    rows = totals.grouped(settled, "day", day=index_of_day("hour", calendar)).union(
        totals.grouped(in_flight, "day", day=index_of_day("created_at", calendar)), all=True
    )
    by_day = add_up_by([(calendar[day], totals.from_columns(columns)) for day, *columns in rows])
    return rows_by_day(by_day, dates)


def _until(moment: datetime, teams: Teams) -> Totals:
    """Return the usage of the day of a moment before it."""
    hour = periods.begin_of_hour(moment)
    midnight = start_of(timezone.localtime(moment, periods.zone()).date())
    records = UsageRecord.objects.filter(created_at__gte=hour, created_at__lt=moment).order_by()
    hours = totals.hourly(midnight, hour)
    return add_up([totals.total(rows.filter(of_teams(teams))) for rows in (hours, records)])
