"""Attempts to sign in, counted by user name and IP address before anything is verified, across all workers.

An attempt counts as failed from its start. Otherwise, any number of concurrent attempts would pass the lockout while
their passwords are hashed one after the other: the last of 80 parallel logins still succeeded with the right password.
"""

from datetime import datetime

from axes.models import AccessAttempt
from django.conf import settings
from django.db.models import Case, F, Q, QuerySet, When
from django.utils import timezone

UNKNOWN_ADDRESS = "0.0.0.0"
"""Counted where the client IP is unknown, as on a Unix socket. NULL would not be unique in the table."""
ANY_BROWSER = ""
"""User agent of every row: the row of a user name and an IP address is unique, so its updates are atomic."""


def count(username: str, address: str | None) -> bool:
    """Count an attempt as failed, and return True. Return False, and count nothing, during a lockout."""
    if is_locked_out(username, address):  # without a write: a flood of logins must not occupy the database
        return False
    if _add_one(username, address):
        return True
    row = AccessAttempt(
        username=username, ip_address=address or UNKNOWN_ADDRESS, user_agent=ANY_BROWSER, failures_since_start=0
    )
    AccessAttempt.objects.bulk_create([row], ignore_conflicts=True)
    return _add_one(username, address)


def refund(username: str, address: str | None) -> None:
    """Take back one counted attempt: it did not fail, but the user is not signed in yet."""
    _rows(username, address).filter(failures_since_start__gt=0).update(
        failures_since_start=F("failures_since_start") - 1
    )


def clear(username: str, address: str | None) -> None:
    """Forget all failures after a completed sign-in."""
    _rows(username, address).delete()


def failures(username: str, address: str | None) -> int:
    """Return the attempts that count as failed."""
    current = _rows(username, address).filter(attempt_time__gte=_lockout_start())
    return sum(current.values_list("failures_since_start", flat=True))


def is_locked_out(username: str, address: str | None) -> bool:
    """Return whether the next attempt would be rejected."""
    return failures(username, address) >= settings.AXES_FAILURE_LIMIT


def locked_until(username: str, address: str | None) -> datetime:
    """Return the end of a lockout. Now, if there is none."""
    latest = _rows(username, address).values_list("attempt_time", flat=True).first()
    return latest + settings.AXES_COOLOFF_TIME if latest is not None else timezone.now()


def delete_expired() -> None:
    """Delete the rows of all user names that are older than a lockout."""
    AccessAttempt.objects.filter(attempt_time__lt=_lockout_start()).delete()


def _add_one(username: str, address: str | None) -> bool:
    """Count in one statement. Return False if there is no row, or if it has reached the limit."""
    is_expired = Q(attempt_time__lt=_lockout_start())
    counted = (
        _rows(username, address)
        .filter(is_expired | Q(failures_since_start__lt=settings.AXES_FAILURE_LIMIT))
        .update(
            failures_since_start=Case(When(is_expired, then=1), default=F("failures_since_start") + 1),
            attempt_time=timezone.now(),
        )
    )
    return bool(counted)


def _rows(username: str, address: str | None) -> "QuerySet[AccessAttempt]":
    return AccessAttempt.objects.filter(
        username=username, ip_address=address or UNKNOWN_ADDRESS, user_agent=ANY_BROWSER
    )


def _lockout_start() -> datetime:
    return timezone.now() - settings.AXES_COOLOFF_TIME
