"""Command that revokes an API key by its public ID, or by the raw key on stdin."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from keys.display.state_changes import STREAM_TERMINATION_S, propagation_s
from keys.management.lookup import HELP, find_key
from keys.models import APIKey

MAX_NOTE_LENGTH = 200
Reason = APIKey.RevocationReason


class Command(BaseCommand):
    help = (
        "Revoke an API key, which cannot be undone. Usage history is kept. Takes effect within 5 s; in-flight streams "
        "continue unless the key is compromised. Examples: "
        'manage.py revoke_key key_4fK… --reason owner_left --note "left the team"; '
        "manage.py revoke_key - --reason compromised --yes < found-key.txt"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("id", metavar="ID", help=HELP)
        parser.add_argument("--reason", choices=Reason.values, default=Reason.OTHER, help="default: other")
        parser.add_argument("--note", default="", help="details, stored with the key")
        parser.add_argument("--yes", action="store_true", help="do not ask for confirmation (asked on a terminal only)")

    def handle(self, *, id: str, reason: str, note: str, yes: bool, **options: Any) -> None:
        if len(note) > MAX_NOTE_LENGTH:
            raise CommandError(f"--note is longer than {MAX_NOTE_LENGTH} characters.")
        api_key = find_key(id)
        if api_key.revoked_at:
            self.stderr.write(f"{api_key} is already revoked.", str)
            return
        if not yes and sys.stdin.isatty() and not _confirms(f"Revoke {api_key}? This cannot be undone. [y/N] "):
            raise CommandError("Nothing was revoked.")
        api_key.revoke(reason=reason, note=note)
        effect = f"Its requests are rejected within {propagation_s()} s"
        if reason == Reason.COMPROMISED:
            effect += f", and its in-flight streams are terminated within {STREAM_TERMINATION_S} s"
        self.stderr.write(f"Revoked {api_key}. {effect}.", str)


def _confirms(question: str) -> bool:
    return input(question).lower() in ("y", "yes")
