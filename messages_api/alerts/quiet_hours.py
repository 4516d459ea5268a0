"""Quiet hours of a rule, in wall time of the reporting time zone."""

from datetime import UTC, date, datetime, time, timedelta

from django.utils import timezone

from lib import periods
from messages_api.models import AlertRule

DAY = timedelta(days=1)


def is_quiet(rule: AlertRule, now: datetime) -> bool:
    """Return whether a moment lies in the quiet hours, which may pass midnight.

    Both ends are moments: quiet hours are not longer or shorter where a clock change repeats or skips one of them.
    """
    if rule.quiet_from is None or rule.quiet_until is None:
        return False
    today = timezone.localtime(now, periods.zone()).date()
    ends_next_day = rule.quiet_until <= rule.quiet_from
    return any(
        _moment(day, rule.quiet_from) <= now < _moment(day + DAY if ends_next_day else day, rule.quiet_until)
        for day in (today - DAY, today)
    )


def _moment(day: date, wall: time) -> datetime:
    return datetime.combine(day, wall, tzinfo=periods.zone()).astimezone(UTC)
