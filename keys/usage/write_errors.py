"""Errors of a write: of the database, which every row meets, or of one row, which must not stop the others."""

from django.db import DatabaseError, DataError, IntegrityError, InterfaceError, InternalError, OperationalError

UNAVAILABLE = (OperationalError, InterfaceError, InternalError)  # the last: a server that has become a read-only copy
OF_MACHINE = (OSError, MemoryError)
PROGRAM_LIMIT_EXCEEDED = "54"  # a class of SQLSTATE: PostgreSQL reports a value that is too large or nested too deeply


def is_outage(error: Exception) -> bool:
    """Return whether the error means that the database is unavailable, rather than that it rejects a statement."""
    return isinstance(error, UNAVAILABLE) and not _is_limit_exceeded(error)


def is_of_row(error: Exception) -> bool | None:
    """Return whether the row causes the error, or None where the database may reject every row, as without a table."""
    if is_outage(error) or isinstance(error, OF_MACHINE):
        return False
    if isinstance(error, (DataError, IntegrityError)) or _is_limit_exceeded(error):
        return True
    return None if isinstance(error, (DatabaseError, InterfaceError)) else True


def _is_limit_exceeded(error: Exception) -> bool:
    return str(getattr(error.__cause__, "sqlstate", None) or "").startswith(PROGRAM_LIMIT_EXCEEDED)
