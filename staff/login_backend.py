"""Password verification behind the lockout: an attempt is counted before its password is hashed."""

import logging
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from axes.backends import AxesBackend
from axes.handlers.database import AxesDatabaseHandler
from axes.handlers.proxy import AxesProxyHandler
from django.contrib.auth.backends import ModelBackend
from django.core.exceptions import PermissionDenied

from staff import login_attempts

logger = logging.getLogger(__name__)

MAX_CONCURRENT = 10
"""Logins from one IP address that a worker handles at a time. Passwords are hashed one after the other, 0.3 s each: a
flood of logins with different user names delays those from other IP addresses by three seconds, not by minutes."""


class LoginBackend(AxesBackend):
    """Django's backend of user names and passwords, with a lockout that holds for concurrent logins."""

    def authenticate(self, request: Any, username: Any = None, password: Any = None, **kwargs: Any) -> Any:
        """Return the user, or None for a wrong password.

        Raise PermissionDenied without hashing the password during a lockout, and beyond MAX_CONCURRENT.
        """
        if username is None or password is None:
            return None
        AxesProxyHandler.update_request(request)
        address = request.axes_ip_address
        with _concurrent_logins.one_from(address) as is_within_limit:
            request.has_concurrent_logins = not is_within_limit
            if not is_within_limit:
                raise PermissionDenied
            if not login_attempts.count(username, address):
                request.axes_locked_out = True
                raise PermissionDenied
            user = ModelBackend.authenticate(self, request, username, password, **kwargs)
        if user is None:
            login_attempts.delete_expired()
        else:
            login_attempts.refund(username, address)
        return user


class LoginHandler(AxesDatabaseHandler):
    """Receiver of Django's signals about logins. Failures are counted by `login_attempts`, before they happen."""

    def user_login_failed(self, sender: Any, credentials: Any, request: Any = None, **kwargs: Any) -> None:
        """Mark the request of a failed login if the user name is locked out now."""
        request.axes_credentials = credentials
        if request.axes_locked_out or request.has_concurrent_logins:
            return
        if login_attempts.is_locked_out(credentials.get("username", ""), request.axes_ip_address):
            request.axes_locked_out = True
            # Without the user name: users type passwords into its field.
            logger.warning("A user name is locked out after failed logins from %s", request.axes_ip_address)


class _ConcurrentLogins:
    """Number of logins in progress in this process, by IP address."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._in_progress: Counter[str | None] = Counter()

    @contextmanager
    def one_from(self, address: str | None) -> Iterator[bool]:
        """Count a login while it is in progress. Yield False if the IP address has reached MAX_CONCURRENT."""
        with self._lock:
            self._in_progress[address] += 1
            is_within_limit = self._in_progress[address] <= MAX_CONCURRENT
        try:
            yield is_within_limit
        finally:
            with self._lock:
                self._in_progress[address] -= 1
                if not self._in_progress[address]:
                    del self._in_progress[address]


_concurrent_logins = _ConcurrentLogins()
