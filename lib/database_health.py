"""Availability of the database as this process knows it: reported by the ledger's writer, asked before key lookups."""

from collections.abc import Callable

_checks: list[Callable[[], bool]] = []


def add_check(check: Callable[[], bool]) -> None:
    """Register a function that returns whether the database is unavailable. It must not block."""
    _checks.append(check)


def is_unavailable() -> bool:
    """Return whether a query would wait for nothing, so that requests are rejected without one."""
    return any(check() for check in _checks)
