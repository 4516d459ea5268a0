"""Ranges of whole days in the reporting time zone."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Self

from django.db.models import Case, Value, When
from django.utils import timezone


@dataclass(frozen=True, kw_only=True, slots=True)
class DateRange:
    """Whole days in the reporting time zone, both ends included."""

    first: date
    last: date

    @classmethod
    def last_days(cls, count: int) -> Self:
        """Return the given number of days up to and including today."""
        today = timezone.localdate()
        return cls(first=today - timedelta(days=count - 1), last=today)

    @classmethod
    def this_month(cls) -> Self:
        """Return the current month up to and including today."""
        today = timezone.localdate()
        return cls(first=today.replace(day=1), last=today)

    def bounds(self) -> tuple[datetime, datetime]:
        """Return the half-open interval of time. A day with a clock change has 23 or 25 hours."""
        return start_of(self.first), start_of(self.last + timedelta(days=1))

    def days(self) -> list[date]:
        return [self.first + timedelta(days=i) for i in range((self.last - self.first).days + 1)]


def start_of(day: date) -> datetime:
    """Return midnight of a day in the reporting time zone, as UTC."""
    return datetime.combine(day, time.min, tzinfo=timezone.get_default_timezone()).astimezone(UTC)


def index_of_day(column: str, days: list[date], first: int = 0) -> Any:
    """Return an expression for the index in `days` that a datetime column falls on, by bisection at midnights.

    A database function for dates would use the time zone tables of the database. On SQLite it also calls Python for
    every row, which took most of the time of a report over a million requests (9.2 s; with this expression 4.3 s).
    """
    if len(days) == 1:
        return Value(first)
    middle = len(days) // 2
    return Case(
        When(**{f"{column}__lt": start_of(days[middle])}, then=index_of_day(column, days[:middle], first)),
        default=index_of_day(column, days[middle:], first + middle),
    )
