"""End an API key from the shell, by its public id or, for a key that somebody found, by the raw key itself."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from keys.display.state_changes import STREAM_TERMINATION_S, propagation_s
from keys.management.lookup import HELP, find_key
from keys.models import APIKey

MAX_REASON_LENGTH = 200
Kind = APIKey.RevocationReason


class Command(BaseCommand):
    help = (
        "Revoke an API key for good; its history stays. Effective everywhere within 5 s; streams go on, unless the key "
        'is compromised. Examples: manage.py revoke_key key_4fK… --kind owner_left --reason "left the team"; '
        "manage.py revoke_key - --kind compromised --yes < found-key.txt"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("id", metavar="ID", help=HELP)
        parser.add_argument("--kind", choices=Kind.values, default=Kind.OTHER, help="why (default: other)")
        parser.add_argument("--reason", default="", help="for those who look at the key later")
        parser.add_argument("--yes", action="store_true", help="do not ask (it asks on a terminal only)")

    def handle(self, *, id: str, kind: str, reason: str, yes: bool, **options: Any) -> None:
        if len(reason) > MAX_REASON_LENGTH:
            raise CommandError(f"--reason is longer than {MAX_REASON_LENGTH} characters.")
        api_key = find_key(id)
        if api_key.revoked_at:
            self.stderr.write(f"{api_key} was revoked already.", str)
            return
        if not yes and sys.stdin.isatty() and input(f"Revoke {api_key} for good? [y/N] ").lower() not in ("y", "yes"):
            raise CommandError("Nothing was revoked.")
        api_key.revoke(reason=kind, note=reason)
        streams = f"; its streams end within {STREAM_TERMINATION_S} s" if kind == Kind.COMPROMISED else ""
        self.stderr.write(f"Revoked {api_key}. Its calls are refused within {propagation_s()} s{streams}.", str)
