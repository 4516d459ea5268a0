"""Command: delete old entries of the audit log and of logins."""

import re
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from lib.arguments import whole_number
from staff import audit_retention

AGE = re.compile(r"([1-9]\d{0,4})d", re.ASCII)


class Command(BaseCommand):
    help = (
        "Delete audit log entries and logins older than the given number of days. Each batch is a transaction, so the "
        "command can be interrupted and run again. Example: manage.py purge_audit --older-than 365d"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--older-than", metavar="DAYS", help="such as 365d (default: RETAIN_AUDIT_DAYS)")
        parser.add_argument(
            "--batch",
            type=whole_number(1, 100_000),
            default=1000,
            metavar="ROWS",
            help="rows per transaction (default: 1000)",
        )

    def handle(self, *, older_than: str | None, batch: int, **options: Any) -> None:
        if older_than is None and not settings.RETAIN_AUDIT_DAYS:
            raise CommandError("Enter the age of the entries with --older-than, or set RETAIN_AUDIT_DAYS.")
        match = AGE.fullmatch(older_than or f"{settings.RETAIN_AUDIT_DAYS}d")
        if match is None:
            raise CommandError("--older-than: enter a number of days, such as 365d.")
        days = int(match[1])
        changes, logins = (sum(audit_retention.batches(rows, batch)) for rows in audit_retention.older_than(days))
        deleted = f"{changes} change{_s(changes)} and {logins} login{_s(logins)}"
        self.stderr.write(f"Deleted {deleted} older than {days} day{_s(days)}.", str)


def _s(count: int) -> str:
    return "" if count == 1 else "s"
