"""Days whose usage records are purged: a bill of them cannot be compared any more."""

from datetime import UTC, date, timedelta

from keys.usage import retention

DAY = timedelta(days=1)


class RecordsPurged(Exception):
    """A bill cannot be reconciled; the message says why."""


def first_comparable_day() -> date:
    """Return the first UTC day that can be compared: all records of it and of the day before are there.

    A request near midnight may be billed on the next day.
    """
    begin = retention.records_begin()
    if begin is None:
        return date.min
    day = begin.astimezone(UTC).date()
    is_midnight = begin == begin.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return day + (DAY if is_midnight else 2 * DAY)


def check(first: date) -> None:
    """Raise RecordsPurged if days from this one on cannot be compared."""
    comparable = first_comparable_day()
    if first < comparable:
        raise RecordsPurged(
            f"Days before {comparable} (UTC) cannot be compared any more: usage records of them are purged."
        )
