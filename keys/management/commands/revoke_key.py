"""End an API key from the shell, by its public id or, for a key that somebody found, by the raw key itself."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from keys import hashing
from keys.models import APIKey

STDIN = "-"
MAX_REASON_LENGTH = 200


class Command(BaseCommand):
    help = (
        "Revoke an API key for good; its history stays. Effective everywhere within 5 s. Examples: "
        'manage.py revoke_key key_4fK… --reason "left the team"; manage.py revoke_key - < found-key.txt'
    )

    def add_arguments(self, parser: CommandParser) -> None:
        # A raw key in the arguments would stand in the shell's history and in the list of processes.
        parser.add_argument("id", metavar="ID", help="the public id (key_…), or - to read the raw key from stdin")
        parser.add_argument("--reason", default="", help="for those who look at the key later")
        parser.add_argument("--yes", action="store_true", help="do not ask (it asks on a terminal only)")

    def handle(self, *, id: str, reason: str, yes: bool, **options: Any) -> None:
        if len(reason) > MAX_REASON_LENGTH:
            raise CommandError(f"--reason is longer than {MAX_REASON_LENGTH} characters.")
        api_key = _find(id)
        if api_key.revoked_at:
            self.stderr.write(f"{api_key} was revoked already.", str)
            return
        if not yes and sys.stdin.isatty() and input(f"Revoke {api_key} for good? [y/N] ").lower() not in ("y", "yes"):
            raise CommandError("Nothing was revoked.")
        api_key.revoke(reason=reason)
        self.stderr.write(f"Revoked {api_key}.", str)


def _find(id: str) -> APIKey:
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
