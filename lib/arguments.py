"""Types of command-line arguments: an invalid value is a usage error, and no number is beyond its use."""

from argparse import ArgumentTypeError
from collections.abc import Callable
from datetime import date, datetime

from django.utils import timezone

YEARS = range(2000, 3000)
"""Years in which arithmetic with days and time zones cannot overflow."""


def whole_number(at_least: int, at_most: int) -> Callable[[str], int]:
    """Return a type for whole numbers of a range."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 20 and at_least <= int(text) <= at_most):
            raise ArgumentTypeError(f"enter a whole number from {at_least:,} to {at_most:,}")
        return int(text)

    return parse


port = whole_number(1, 65_535)


def day(text: str) -> date:
    """Parse a day such as 2026-11-30."""
    try:
        parsed = date.fromisoformat(text)
    except ValueError as error:
        raise ArgumentTypeError("enter a day as 2026-11-30") from error
    if parsed.year not in YEARS:
        raise ArgumentTypeError(f"enter a year from {YEARS[0]} to {YEARS[-1]}")
    return parsed


def moment(text: str) -> datetime:
    """Parse a time such as 2026-11-30T09:00. Without an offset, in the reporting time zone."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise ArgumentTypeError("enter a time as 2026-11-30T09:00") from error
    if parsed.year not in YEARS:
        raise ArgumentTypeError(f"enter a year from {YEARS[0]} to {YEARS[-1]}")
    return parsed if parsed.tzinfo else timezone.make_aware(parsed)
