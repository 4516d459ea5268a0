"""Names of the same model: an alias, and the dated ID that a response contains. Pure."""

import re

_DATE = re.compile(r"[-@](20\d{2}-?[01]\d-?[0-3]\d|latest)$", re.ASCII)


def is_same_model(first: str, second: str) -> bool:
    """Return whether two names differ at most by a date or `-latest`: `gpt-4o` and `gpt-4o-2024-08-06`."""
    return first == second or _DATE.sub("", first) == second or first == _DATE.sub("", second)
