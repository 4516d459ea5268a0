"""Names of the same model: an alias, and the dated ID that a response contains. Pure."""

import re

_DATE = re.compile(r"[-@](20\d{2}-?[01]\d-?[0-3]\d|latest)$", re.ASCII)


def undated(name: str) -> str:
    """Return the alias of a dated ID: `gpt-4o` for `gpt-4o-2024-08-06`, and for itself."""
    return _DATE.sub("", name)


def is_same_model(first: str, second: str) -> bool:
    """Return whether two names differ at most by a date or `-latest`."""
    return first == second or undated(first) == second or first == undated(second)
