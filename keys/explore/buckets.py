"""Buckets of time: the parts of an interval that a chart shows, by wall time of the reporting zone."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from keys.explore.intervals import Interval, local, midnight
from lib import periods

MAX_BUCKETS = 400
BUCKETS = {
    "minute": "Minute",
    "5minutes": "5 minutes",
    "hour": "Hour",
    "day": "Day",
    "week": "Week",
    "month": "Month",
}
BELOW_AN_HOUR = {"minute": timedelta(minutes=1), "5minutes": timedelta(minutes=5)}
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
_LENGTHS = {**BELOW_AN_HOUR, "hour": _HOUR, "day": _DAY, "week": 7 * _DAY, "month": 28 * _DAY}
_DEFAULTS = [(timedelta(hours=3), "5minutes"), (3 * _DAY, "hour"), (100 * _DAY, "day"), (250 * _DAY, "week")]


def fitting(interval: Interval) -> list[str]:
    """Return the buckets that an interval can have: not too many of them, and none longer than the interval."""
    length = interval.end - interval.begin
    found = [name for name, each in _LENGTHS.items() if each <= length and length / each <= MAX_BUCKETS - 2]
    return found or ["minute" if length < _HOUR else "month"]


def fitted(wanted: str, interval: Interval) -> str:
    """Return the bucket that is wanted, or the next one that fits; without a wish, one that follows the interval."""
    fit = fitting(interval)
    if not wanted:
        length = interval.end - interval.begin
        wanted = next((name for longest, name in _DEFAULTS if length <= longest), "month")
    if wanted in fit:
        return wanted
    order = list(BUCKETS)
    return fit[0] if order.index(wanted) < order.index(fit[0]) else fit[-1]


def begins(bucket: str, interval: Interval) -> list[datetime]:
    """Return when each bucket of an interval begins, the first with the interval."""
    found = [interval.begin]
    for moment in _boundaries(bucket, interval.begin):
        if moment >= interval.end:
            return found
        if moment > found[-1]:
            found.append(moment)
    return found


def _boundaries(bucket: str, begin: datetime) -> Iterator[datetime]:
    if bucket in BELOW_AN_HOUR:
        step = BELOW_AN_HOUR[bucket]
        moment = begin - timedelta(
            minutes=local(begin).minute % (step // timedelta(minutes=1)),
            seconds=begin.second,
            microseconds=begin.microsecond,
        )
        while True:
            moment += step
            yield moment
    if bucket == "hour":
        while True:
            begin = next_hour(begin)
            yield begin
    day = local(begin).date()
    while True:
        if bucket == "day":
            day += _DAY
        elif bucket == "week":
            day += timedelta(days=7 - day.weekday())
        else:
            day = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
        yield midnight(day)


def next_hour(moment: datetime) -> datetime:
    """Return when the hour after that of a moment begins.

    Where clocks move by half an hour, that is not an hour after the begin.
    """
    found = periods.begin_of_hour(moment) + _HOUR
    while periods.begin_of_hour(found) != found:
        found = periods.begin_of_hour(found) + _HOUR
    return found


def whole_hours(interval: Interval) -> Interval | None:
    """Return the whole hours within an interval, which rollups have; None if there is none."""
    begin, end = interval.begin, periods.begin_of_hour(interval.end)
    if periods.begin_of_hour(begin) != begin:
        begin = next_hour(begin)
    return Interval(begin=begin, end=end) if begin < end else None
