"""Errors of a write: of the database, which every row meets, or of one row, which must not stop the others."""

from django.db import DatabaseError, DataError, IntegrityError, InterfaceError, InternalError, OperationalError

UNAVAILABLE = (OperationalError, InterfaceError, InternalError)
OF_MACHINE = (OSError, MemoryError)
OF_SERVER = ("08", "25", "28", "3D", "40", "53", "55", "57")
"""Classes of SQLSTATE: connection, read-only copy, login, database, deadlock, resources, locks, shutdown."""
PROGRAM_LIMIT_EXCEEDED = "54"
"""A class of SQLSTATE: a value that is too large or nested too deeply."""


def is_outage(error: Exception) -> bool:
    """Return whether the error means that the database is unavailable, rather than that it rejects a statement."""
    return isinstance(error, UNAVAILABLE) and _sqlstate_class(error) in (None, *OF_SERVER)


def is_of_row(error: Exception) -> bool | None:
    """Return whether the row causes the error, or None where the database may reject every row, as without a table."""
    if is_outage(error) or isinstance(error, OF_MACHINE):
        return False
    if isinstance(error, (DataError, IntegrityError)) or _sqlstate_class(error) == PROGRAM_LIMIT_EXCEEDED:
        return True
    return None if isinstance(error, (DatabaseError, InterfaceError)) else True


def _sqlstate_class(error: Exception) -> str | None:
    """Return the class of the SQLSTATE that the server reports; None without a server that responds."""
    sqlstate = getattr(error.__cause__, "sqlstate", None)
    return sqlstate[:2] if sqlstate else None
