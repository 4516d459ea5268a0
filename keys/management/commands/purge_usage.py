"""Command that purges usage records and hours as the settings of retention say."""

import time
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError
from django.utils import timezone

from keys.usage import coarse_rollups, purge, reporting_zone, retention
from lib.arguments import whole_number

ATTEMPTS = 20
"""Of a batch that waits for requests which have the table locked."""
WAIT_S = 0.5


class Command(BaseCommand):
    help = (
        "Delete usage records older than RETAIN_RECORDS_DAYS, and merge the hours of days older than "
        "RETAIN_HOURS_DAYS. Reports do not change. Each batch is a transaction, so the command can be interrupted "
        "and run again. The gateway does the same every day. Example: manage.py purge_usage --dry-run"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="print what would be purged, and change nothing")
        parser.add_argument(
            "--batch",
            type=whole_number(1, 10_000),
            default=purge.BATCH,
            metavar="ROWS",
            help="records per transaction (default: %(default)s)",
        )

    def handle(self, *, dry_run: bool, batch: int, **options: Any) -> None:
        if not settings.RETAIN_RECORDS_DAYS:
            raise CommandError("RETAIN_RECORDS_DAYS is not set: usage records are kept for ever.")
        reporting_zone.follow_only()
        if dry_run:
            self._preview()
            return
        coarse_rollups.build_all()
        before = retention.records_begin(), retention.hours_begin()
        while self._step(batch):
            pass
        self._report(*before)

    def _step(self, batch: int) -> bool:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return purge.purge_step(batch)
            except OperationalError as error:
                if attempt == ATTEMPTS:
                    raise CommandError(f"The database does not allow it now: {error}") from None
                time.sleep(WAIT_S)
        return False

    def _preview(self) -> None:
        found = purge.preview()
        if found["records_before"]:
            self.stdout.write(
                f"Would delete {found['records']:,} usage records before {_day(found['records_before'])}"
                f"{_of_partitions(found['partitions'])}. {found['open_records']:,} open ones stay."
            )
        if found["days_to_merge"]:
            self.stdout.write(
                f"Would merge the hours of {found['days_to_merge']:,} days before {_day(found['hours_before'])}."
            )
        if not found["records_before"] and not found["days_to_merge"]:
            self.stdout.write("Nothing to purge, or its days and months are not built: rollup_usage --build.")

    def _report(self, records_before: datetime | None, hours_before: datetime | None) -> None:
        records, hours = retention.records_begin(), retention.hours_begin()
        if (records, hours) == (records_before, hours_before):
            self.stdout.write("Nothing to purge.")
        if records is not None:
            self.stdout.write(f"Usage records before {_day(records)} are purged.")
        if hours is not None:
            self.stdout.write(f"The hours of days before {_day(hours)} are merged.")


def _day(moment: Any) -> str:
    return f"{timezone.localtime(moment):%Y-%m-%d}"


def _of_partitions(names: Any) -> str:
    return f", with the partitions {', '.join(names)}" if names else ""
