"""When a key is to end, as people write it: `90d`, `2027-12-31` or `never`."""

import re
from datetime import datetime, time, timedelta

from django.utils import timezone

LAST_YEAR = 2999
"""Beyond it, the arithmetic of days and time zones could leave the calendar."""
_DAYS = re.compile(r"(\d{1,9})d", re.ASCII)


class InThePast(ValueError):
    """The end lies before now."""


def parse(text: str) -> datetime | None:
    """The moment, or None for `never`; of a day, the midnight that ends it in the reporting time zone.

    Raise InThePast, or ValueError for what is none of these.
    """
    if text == "never":
        return None
    try:
        moment = _after_days(text) or _end_of_day(text)
    except (ValueError, OverflowError) as error:
        raise ValueError("Give it as 90d, 2027-12-31 or never.") from error
    if moment <= timezone.now():
        raise InThePast("This lies in the past.")
    if moment.year > LAST_YEAR:
        raise ValueError("Give it as 90d, 2027-12-31 or never.")
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
