"""Which key a command is about."""

import sys

from django.core.management.base import CommandError

from keys.domain import raw_key as hashing
from keys.models import APIKey

STDIN = "-"
HELP = "the public id (key_…), or - to read the raw key from stdin"
# A raw key in the arguments would stand in the shell's history and in the list of processes.


def find_key(id: str) -> APIKey:
    """The key that is meant. The error does not repeat what was given: it might be a raw key."""
    if id == STDIN:
        raw_key = sys.stdin.readline().strip()
        api_key = APIKey.objects.with_raw_key(raw_key).first() if hashing.is_well_formed(raw_key) else None
        missing = "The raw key on stdin is none of ours."
    else:
        api_key = APIKey.objects.filter(public_id=id).first()
        missing = "There is no key with this id. Give its public id (key_…), or - and the raw key on stdin."
    if api_key is None:
        raise CommandError(missing)
    return api_key
