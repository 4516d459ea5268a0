"""When the periods of budgets and the hours of rollups begin and end, in the reporting time zone in effect."""

from datetime import UTC, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo

from django.utils import timezone

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FOREVER = datetime(9999, 1, 1, tzinfo=UTC)
"""The end of a period that never ends."""

_followed: tzinfo | None = None


def follow(name: str | None) -> None:
    """Use this time zone in this process, whatever REPORTING_TIME_ZONE is. None: use that again.

    Raise ZoneInfoNotFoundError for a name that this host does not know.
    """
    global _followed
    _followed = None if name is None else ZoneInfo(name)


def zone() -> tzinfo:
    """Return the reporting time zone in effect: that of the installation, which all its processes follow."""
    return _followed or timezone.get_default_timezone()


def begin_of(period: str, moment: datetime) -> datetime:
    """When the period that a moment lies in began: midnight of a day, of a Monday, of a first; ever, for `total`."""
    if period == "total":
        return EPOCH
    day = timezone.localtime(moment, zone()).date()
    if period == "week":
        day -= timedelta(days=day.weekday())
    elif period == "month":
        day = day.replace(day=1)
    return _midnight(day)


def end_of(period: str, begin: datetime) -> datetime | None:
    """When the period that began then ends; None: never."""
    if period == "total":
        return None
    day = timezone.localtime(begin, zone()).date()
    if period == "month":
        return _midnight((day + timedelta(days=32)).replace(day=1))
    return _midnight(day + timedelta(days=7 if period == "week" else 1))


def bounds_of(period: str, moment: datetime) -> tuple[datetime, datetime]:
    """Return when the period that a moment lies in begins and ends; FOREVER: never."""
    begin = begin_of(period, moment)
    return begin, end_of(period, begin) or FOREVER


def begin_of_hour(moment: datetime, in_zone: tzinfo | None = None) -> datetime:
    """The hour that a moment lies in. Where the zone is half an hour off, so are its hours."""
    local = timezone.localtime(moment, in_zone or zone())
    return (moment - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)).astimezone(
        UTC
    )


def _midnight(day: object) -> datetime:
    return datetime.combine(day, time.min, tzinfo=zone()).astimezone(UTC)  # type: ignore[arg-type]
