"""Command that rotates an API key. Only the raw key goes to stdout; everything else goes to stderr."""

import re
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from keys.management.lookup import HELP, find_key
from keys.models import KeyRevoked

OVERLAP = re.compile(r"(\d{1,5})([smhd])", re.ASCII)
UNITS = {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
MAX_OVERLAP = timedelta(days=90)


class Command(BaseCommand):
    help = (
        "Rotate an API key: issue a new secret and let the previous one expire. ID, limits, budgets and history are "
        "kept. Only the raw key is written to stdout. It is not stored and cannot be shown again. "
        "Example: KEY=$(manage.py rotate_key key_4fK… --overlap 24h)"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("id", metavar="ID", help=HELP)
        parser.add_argument(
            "--overlap",
            default="24h",
            metavar="TIME",
            help="how long the previous secret stays valid: 0, 30s, 30m, 24h or 7d",
        )

    def handle(self, *, id: str, overlap: str, **options: Any) -> None:
        duration = _overlap(overlap)
        api_key = find_key(id)
        try:
            secret, raw_key = api_key.rotate(overlap=duration)
        except KeyRevoked as error:
            raise CommandError(f"{api_key} is revoked. Issue a new key instead.") from error
        expiry = f"at {timezone.localtime(secret.created_at + duration):%Y-%m-%d %H:%M:%S %Z}" if duration else "now"
        self.stderr.write(
            f"Rotated {api_key}: new secret {secret}; the previous secret expires {expiry}. The raw key is shown once:",
            str,
        )
        self.stdout.write(raw_key)


def _overlap(text: str) -> timedelta:
    match = OVERLAP.fullmatch(text)
    if text in ("0", "now"):
        return timedelta()
    if match is None:
        raise CommandError("--overlap: enter 0, 30s, 30m, 24h or 7d.")
    duration = int(match[1]) * UNITS[match[2]]
    if duration > MAX_OVERLAP:
        raise CommandError(f"--overlap is longer than {MAX_OVERLAP.days} days. Issue another key instead.")
    return duration
