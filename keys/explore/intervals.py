"""Intervals of time that questions cover: presets, any two moments, and the interval before."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from django.utils import timezone

from lib import periods

LONGEST = timedelta(days=3660)
YEARS = range(2000, 2101)
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A half-open interval of time, in UTC."""

    begin: datetime
    end: datetime
    preset: str = ""
    """The name of the preset that it was chosen by."""

    def until(self, moment: datetime) -> "Interval":
        """Return the part of it before a moment; empty if there is none."""
        return Interval(begin=self.begin, end=max(self.begin, min(self.end, moment)))


def midnight(day: date) -> datetime:
    """Return midnight of a day in the reporting time zone, as UTC."""
    return datetime.combine(day, time.min, tzinfo=periods.zone()).astimezone(UTC)


def local(moment: datetime) -> datetime:
    return timezone.localtime(moment, periods.zone())


def is_midnight(moment: datetime) -> bool:
    return midnight(local(moment).date()) == moment


def _months_later(day: date, months: int) -> date:
    years, month = divmod(day.month - 1 + months, 12)
    return date(day.year + years, month + 1, 1)


def _days(first: int, last: int) -> Callable[[datetime], tuple[datetime, datetime]]:
    """Return the bounds of days, counted from today: 0 is today."""

    def bounds(now: datetime) -> tuple[datetime, datetime]:
        today = local(now).date()
        return midnight(today + timedelta(days=first)), midnight(today + timedelta(days=last + 1))

    return bounds


def _months(first: int, last: int) -> Callable[[datetime], tuple[datetime, datetime]]:
    def bounds(now: datetime) -> tuple[datetime, datetime]:
        today = local(now).date()
        return midnight(_months_later(today, first)), midnight(_months_later(today, last + 1))

    return bounds


def _last_hours(now: datetime) -> tuple[datetime, datetime]:
    running = periods.begin_of_hour(now)
    return periods.begin_of_hour(running - 23 * _HOUR), running + _HOUR


PRESETS: dict[str, tuple[str, Callable[[datetime], tuple[datetime, datetime]]]] = {
    "today": ("Today", _days(0, 0)),
    "yesterday": ("Yesterday", _days(-1, -1)),
    "24h": ("24 hours", _last_hours),
    "7d": ("7 days", _days(-6, 0)),
    "30d": ("30 days", _days(-29, 0)),
    "90d": ("90 days", _days(-89, 0)),
    "this_month": ("This month", _months(0, 0)),
    "last_month": ("Last month", _months(-1, -1)),
    "12mo": ("12 months", _months(-11, 0)),
}
"""The label of each preset, and its bounds at a moment."""
DEFAULT = "7d"


def preset(name: str, now: datetime) -> Interval:
    begin, end = PRESETS[name][1](now)
    return Interval(begin=begin, end=end, preset=name)


def between(begin_text: str, end_text: str) -> Interval:
    """Return the interval between two moments of a URL. Raise ValueError with a sentence for users."""
    begin, end = moment_of(begin_text), moment_of(end_text)
    if end <= begin:
        raise ValueError("The range ends before it begins.")
    if end - begin > LONGEST:
        raise ValueError("A range covers at most ten years.")
    return Interval(begin=begin, end=end)


def moment_of(text: str) -> datetime:
    """Return a moment of a URL: wall time of the reporting zone, a date for its midnight, or with an offset."""
    try:
        # A plus that is not escaped is a space in a URL.
        found = datetime.fromisoformat(text.strip().replace(" ", "+") if "T" in text else text.strip())
    except ValueError:
        raise ValueError(f"“{shortened(text)}” is no date and time: write 2026-11-30 or 2026-11-30T14:00.") from None
    if found.year not in YEARS:
        raise ValueError(f"“{shortened(text)}” is not in the years {YEARS[0]} to {YEARS[-1]}.")
    return (found if found.tzinfo else found.replace(tzinfo=periods.zone())).astimezone(UTC)


def text_of(moment: datetime) -> str:
    """Return a moment for a URL: wall time, with an offset where that occurs twice."""
    wall = local(moment).replace(tzinfo=None)
    is_plain = not wall.microsecond and not wall.second
    written = wall.isoformat(timespec="minutes") if is_plain else wall.isoformat()
    return written if moment_of(written) == moment else local(moment).isoformat()


def shortened(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:39]}…"


def before(interval: Interval, now: datetime) -> Interval:
    """Return the interval before, of equal length: as long as what has passed of an interval that is running.

    Whole days are compared with as many days, months with months, so that both begin at midnight.
    """
    begin = _begin_before(interval)
    if now >= interval.end:
        return Interval(begin=begin, end=interval.begin)
    return Interval(begin=begin, end=min(interval.begin, begin + max(timedelta(), now - interval.begin)))


def _begin_before(interval: Interval) -> datetime:
    first, last = local(interval.begin).date(), local(interval.end).date()
    if not is_midnight(interval.begin) or not is_midnight(interval.end):
        return interval.begin - (interval.end - interval.begin)
    months = 12 * (last.year - first.year) + last.month - first.month
    if first.day == last.day == 1 and months:
        return midnight(_months_later(first, -months))
    return midnight(first - (last - first))
