"""Command that verifies or repairs the hourly rollups that reports read."""

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from keys.models import APIKey
from keys.reports.date_range import DateRange
from keys.usage import reporting_zone, rollup_check
from keys.usage.rollup_check import Mismatch
from keys.usage.rollup_statements import DIMENSIONS
from lib.arguments import day

SHOWN = 20
BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)


class Command(BaseCommand):
    help = (
        "Compare the hourly rollups that reports read with the usage records. Exits with 1 and lists the mismatches if "
        "there are any. Example: manage.py rollup_usage --verify --from 2026-11-01 --to 2026-11-30"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        mode = parser.add_mutually_exclusive_group()
        mode.add_argument("--verify", action="store_true", help="compare without changes (default)")
        mode.add_argument("--repair", action="store_true", help="rewrite mismatching rollups from the usage records")
        parser.add_argument("--from", dest="first", metavar="DATE", type=day, help="first day (default: all days)")
        parser.add_argument("--to", dest="last", metavar="DATE", type=day, help="last day (default: today)")
        parser.add_argument("--json", action="store_true", help="write the result to stdout as JSON")

    def handle(self, *, repair: bool, first: date | None, last: date | None, **options: Any) -> None:
        if first and last and last < first:
            raise CommandError("The last day is before the first.")
        reporting_zone.follow_only()
        begin = DateRange(first=first, last=first).bounds()[0] if first else BEGINNING
        end = DateRange(first=last, last=last).bounds()[1] if last else timezone.now() + timedelta(hours=1)
        hours, found = 0, []
        for interval in rollup_check.iter_intervals(begin, end):
            hours += 1
            if mismatches := rollup_check.mismatches(interval):
                found += mismatches
                if repair:
                    rollup_check.repair(interval)
        self._report(hours, found, repaired=repair, as_json=options["json"])
        if found and not repair:
            raise CommandError(f"{len(found)} rollups do not match the usage records. Rewrite them with --repair.")

    def _report(self, hours: int, found: list[Mismatch], *, repaired: bool, as_json: bool) -> None:
        lines = _lines(found)
        if as_json:
            self.stdout.write(json.dumps({"hours": hours, "repaired": repaired, "mismatches": lines}))
            return
        for line in lines[:SHOWN]:
            text = "{hour} {key} {model} {upstream} {status}: {measure} {records:,} ≠ {rollups:,}".format(**line)
            self.stdout.write(text)
        if len(lines) > SHOWN:
            self.stdout.write(f"… and {len(lines) - SHOWN:,} more")
        if not lines:
            self.stdout.write(f"The rollups of {hours:,} {'hour' if hours == 1 else 'hours'} match the usage records.")
        elif repaired:
            self.stdout.write(f"{len(lines):,} rollups repaired.")


def _lines(mismatches: list[Mismatch]) -> list[dict[str, Any]]:
    """Return each mismatch with the key's public ID and its hour in the reporting time zone."""
    ids = {each.dimensions[0] for each in mismatches}
    public_ids = dict(APIKey.objects.filter(pk__in=ids).values_list("pk", "public_id"))
    lines = []
    for each in mismatches:
        dimensions = dict(zip(DIMENSIONS, each.dimensions, strict=True))
        key, hour = public_ids.get(dimensions.pop("api_key_id")), timezone.localtime(dimensions.pop("hour"))
        figures = {"measure": each.measure, "records": each.records, "rollups": each.rollups}
        lines.append({"hour": hour.isoformat(timespec="minutes"), "key": key, **dimensions, **figures})
    return lines
