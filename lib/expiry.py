"""Expiry of keys and secrets: parse `90d`, `2027-12-31` or `never`, and compare with the time."""

import re
from datetime import datetime, time, timedelta

from django.utils import timezone

LAST_YEAR = 2999
"""Later years could overflow in calculations with days and time zones."""
_DAYS = re.compile(r"(\d{1,9})d", re.ASCII)


class InThePast(ValueError):
    """The expiry is in the past."""


def parse(text: str) -> datetime | None:
    """Return the time of expiry, or None for `never`. A day expires at its end in the reporting time zone.

    Raise InThePast, or ValueError for anything else.
    """
    if text == "never":
        return None
    try:
        moment = _after_days(text) or _end_of_day(text)
    except (ValueError, OverflowError) as error:
        raise ValueError("Enter 90d, 2027-12-31 or never.") from error
    if moment <= timezone.now():
        raise InThePast("This is in the past.")
    if moment.year > LAST_YEAR:
        raise ValueError("Enter 90d, 2027-12-31 or never.")
    return moment


def has_expired(expires_at: datetime | None, *, now: datetime) -> bool:
    """Return whether an expiry has passed. None never expires."""
    return expires_at is not None and expires_at <= now


def _after_days(text: str) -> datetime | None:
    match = _DAYS.fullmatch(text)
    return timezone.now() + timedelta(days=int(match[1])) if match else None


def _end_of_day(text: str) -> datetime:
    day = datetime.strptime(text, "%Y-%m-%d").date()
    return timezone.make_aware(datetime.combine(day + timedelta(days=1), time.min))
