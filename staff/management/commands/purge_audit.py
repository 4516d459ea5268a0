"""Command: delete old entries of the audit log and of logins."""

import re
from datetime import timedelta
from typing import Any

from auditlog.models import LogEntry
from axes.models import AccessLog
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import QuerySet
from django.utils import timezone

from lib.arguments import whole_number

AGE = re.compile(r"([1-9]\d{0,4})d", re.ASCII)


class Command(BaseCommand):
    help = (
        "Delete audit log entries and logins older than the given number of days. Each batch is a transaction, so the "
        "command can be interrupted and run again. Example: manage.py purge_audit --older-than 365d"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--older-than", required=True, metavar="DAYS", help="such as 365d")
        parser.add_argument(
            "--batch",
            type=whole_number(1, 100_000),
            default=1000,
            metavar="ROWS",
            help="rows per transaction (default: 1000)",
        )

    def handle(self, *, older_than: str, batch: int, **options: Any) -> None:
        match = AGE.fullmatch(older_than)
        if match is None:
            raise CommandError("--older-than: enter a number of days, such as 365d.")
        days = int(match[1])
        end = timezone.now() - timedelta(days=days)
        changes = _purge(LogEntry.objects.filter(timestamp__lt=end).order_by("timestamp"), batch)
        logins = _purge(AccessLog.objects.filter(attempt_time__lt=end).order_by("attempt_time"), batch)
        deleted = f"{changes} change{_s(changes)} and {logins} login{_s(logins)}"
        self.stderr.write(f"Deleted {deleted} older than {days} day{_s(days)}.", str)


def _purge(rows: QuerySet[Any], batch: int) -> int:
    """Delete rows in batches and return their number."""
    deleted = 0
    while ids := list(rows.values_list("pk", flat=True)[:batch]):
        rows.model.objects.filter(pk__in=ids).delete()
        deleted += len(ids)
    return deleted


def _s(count: int) -> str:
    return "" if count == 1 else "s"
