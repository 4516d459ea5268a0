"""Give an API key a new secret from the shell. The raw key alone goes to stdout, everything else to stderr."""

import re
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from keys.management.lookup import HELP, find_key
from keys.models import KeyRevoked

OVERLAP = re.compile(r"(\d{1,5})([smhd])", re.ASCII)
UNITS = {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
LONGEST = timedelta(days=90)


class Command(BaseCommand):
    help = (
        "Rotate an API key: a new secret, and an end for the old one. Id, limits, budgets and history stay. The raw "
        "key alone is written to stdout, once: it is stored nowhere. "
        "Example: KEY=$(manage.py rotate_key key_4fK… --overlap 24h)"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("id", metavar="ID", help=HELP)
        parser.add_argument(
            "--overlap", default="24h", metavar="TIME", help="how long the old secret works on: 0, 30s, 30m, 24h, 7d"
        )

    def handle(self, *, id: str, overlap: str, **options: Any) -> None:
        lasting = _overlap(overlap)
        api_key = find_key(id)
        try:
            secret, raw_key = api_key.rotate(overlap=lasting)
        except KeyRevoked as error:
            raise CommandError(f"{api_key} is revoked: issue another key in its place.") from error
        ends = f"at {timezone.localtime(secret.created_at + lasting):%Y-%m-%d %H:%M:%S %Z}" if lasting else "now"
        self.stderr.write(f"Rotated {api_key}: {secret} is new, the old secret ends {ends}. Shown once:", str)
        self.stdout.write(raw_key)


def _overlap(text: str) -> timedelta:
    match = OVERLAP.fullmatch(text)
    if text in ("0", "now"):
        return timedelta()
    if match is None:
        raise CommandError("Give --overlap as 0, 30s, 30m, 24h or 7d.")
    lasting = int(match[1]) * UNITS[match[2]]
    if lasting > LONGEST:
        raise CommandError(f"--overlap is longer than {LONGEST.days} days: issue another key for that.")
    return lasting
