"""Hours of the day in UTC, such as `01:00-04:00,06:00-10:00`, and weekdays, such as `12345`. Pure."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import pairwise

Minutes = tuple[int, int]
"""Beginning, and end, which is not part of it, in minutes of the day."""

DAY = 24 * 60
EVERY_DAY = "1234567"
_RANGE = re.compile(r"(\d\d):([0-5]\d)-(\d\d):([0-5]\d)", re.ASCII)
_EXAMPLE = "Enter hours such as 01:00-04:00,06:00-10:00."


def parse(text: str) -> tuple[Minutes, ...]:
    """Parse ranges of hours. Raise ValueError with a message for users."""
    ranges = []
    for part in text.split(","):
        match = _RANGE.fullmatch(part)
        if match is None:
            raise ValueError(_EXAMPLE)
        first, first_minute, last, last_minute = map(int, match.groups())
        begin, end = first * 60 + first_minute, last * 60 + last_minute
        if end > DAY:
            raise ValueError("A day ends at 24:00. " + _EXAMPLE)
        if begin >= end:
            raise ValueError(
                "Each end must be after its beginning: enter hours past midnight as 22:00-24:00,00:00-02:00."
            )
        ranges.append((begin, end))
    if overlap(ranges):
        raise ValueError("Hours overlap: enter each hour once, such as 01:00-04:00,06:00-10:00.")
    return tuple(ranges)


def check_weekdays(text: str) -> None:
    """Raise ValueError, with a message for users, unless the text is empty or has each weekday once, in order."""
    if not set(text) <= set(EVERY_DAY) or list(text) != sorted(set(text)):
        raise ValueError("Enter each weekday once and in order, from 1 (Monday) to 7, such as 12345.")


def overlap(ranges: Iterable[Minutes]) -> bool:
    """Return whether two of the ranges have a minute in common."""
    ordered = sorted(ranges)
    return any(first[1] > second[0] for first, second in pairwise(ordered))


def contain(ranges: Sequence[Minutes], weekdays: str, at: datetime) -> bool:
    """Return whether a moment is within the hours. Without weekdays, on every day."""
    moment = at.astimezone(UTC)
    minute = moment.hour * 60 + moment.minute
    is_day = not weekdays or str(moment.isoweekday()) in weekdays
    return is_day and any(begin <= minute < end for begin, end in ranges)
