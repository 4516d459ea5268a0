"""Find the key that a command line names."""

import sys

from django.core.management.base import CommandError

from keys.domain import raw_key
from keys.models import APIKey

STDIN = "-"
HELP = "public ID (key_…), or - to read the raw key from stdin"
# A raw key among the arguments would be visible in the shell history and in the process list.


def find_key(id: str) -> APIKey:
    """Return the key with a public ID, or with the raw key on stdin. Raise CommandError if there is none.

    The error does not repeat the argument, which might be a raw key.
    """
    if id == STDIN:
        raw = _first_line()
        api_key = APIKey.objects.with_raw_key(raw).first() if raw_key.is_well_formed(raw) else None
        error = "No API key has the raw key on stdin."
    else:
        api_key = APIKey.objects.filter(public_id=id).first()
        error = "No API key has this ID. Enter the public ID (key_…), or - with the raw key on stdin."
    if api_key is None:
        raise CommandError(error)
    return api_key


def _first_line() -> str:
    """Return the first line of stdin; empty if it is not text."""
    try:
        return sys.stdin.readline().strip()
    except UnicodeDecodeError:
        return ""
