"""Periods of budgets and hours of reports, in the reporting time zone."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import periods

WEDNESDAY = datetime(2026, 11, 25, 12, 30, 5, tzinfo=UTC)


@pytest.fixture
def zone(settings: Any) -> None:
    settings.TIME_ZONE = "Europe/Berlin"


@pytest.mark.parametrize(
    ("period", "begin", "end"),
    [
        ("day", "2026-11-24T23:00:00+00:00", "2026-11-25T23:00:00+00:00"),
        ("week", "2026-11-22T23:00:00+00:00", "2026-11-29T23:00:00+00:00"),
        ("month", "2026-10-31T23:00:00+00:00", "2026-11-30T23:00:00+00:00"),
    ],
)
def test_periods_begin_at_midnight_of_the_reporting_time_zone(zone: None, period: str, begin: str, end: str) -> None:
    began = periods.begin_of(period, WEDNESDAY)
    ends = periods.end_of(period, began)

    assert (began.isoformat(), ends and ends.isoformat()) == (begin, end)


def test_the_day_on_which_the_clock_changes_has_25_hours(zone: None) -> None:
    began = periods.begin_of("day", datetime(2026, 10, 25, 12, tzinfo=UTC))
    ends = periods.end_of("day", began)

    assert ends is not None and ends - began == timedelta(hours=25)


def test_a_total_period_never_ends() -> None:
    assert periods.begin_of("total", WEDNESDAY) == periods.begin_of("total", WEDNESDAY + timedelta(days=999))
    assert periods.end_of("total", periods.begin_of("total", WEDNESDAY)) is None


@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)),
    st.sampled_from(["day", "week", "month"]),
)
def test_a_time_is_in_its_period_and_the_next_period_begins_where_it_ends(moment: datetime, period: str) -> None:
    began = periods.begin_of(period, moment)
    ends = periods.end_of(period, began)

    assert ends is not None and began <= moment < ends
    assert periods.begin_of(period, ends) == ends
    assert periods.begin_of(period, began) == began


@pytest.mark.parametrize(("name", "minutes"), [("UTC", 0), ("Asia/Kolkata", 30), ("Asia/Kathmandu", 15)])
def test_hours_begin_at_the_hours_of_the_time_zone(settings: Any, name: str, minutes: int) -> None:
    settings.TIME_ZONE = name

    hour = periods.begin_of_hour(WEDNESDAY)

    assert hour.astimezone(ZoneInfo(name)).minute == 0
    assert hour.minute == minutes and timedelta() <= WEDNESDAY - hour < timedelta(hours=1)
