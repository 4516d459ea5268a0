"""Prove from the shell that the hours that reports read are what the calls add up to, and mend those that are not."""

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from keys.models import APIKey
from keys.reports.date_range import DateRange
from keys.usage import rollup_check
from keys.usage.hourly_rollup import DIMENSIONS
from keys.usage.rollup_check import Difference

SHOWN = 20
BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)


class Command(BaseCommand):
    help = (
        "Compare the hours that reports read with the rows of the calls. Exits with 1 and names the differences if "
        "there are any. Example: manage.py rollup_usage --verify --from 2026-11-01 --to 2026-11-30"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--verify", action="store_true", help="compare and change nothing (what it does anyway)")
        what.add_argument("--repair", action="store_true", help="rewrite the hours that are wrong from their rows")
        parser.add_argument("--from", dest="first", metavar="DATE", type=_day, help="first day (default: the first)")
        parser.add_argument("--to", dest="last", metavar="DATE", type=_day, help="last day (default: today)")
        parser.add_argument("--json", action="store_true", help="write the outcome to stdout as JSON")

    def handle(self, *, repair: bool, first: date | None, last: date | None, **options: Any) -> None:
        begin = DateRange(first=first, last=first).bounds()[0] if first else BEGINNING
        end = DateRange(first=last, last=last).bounds()[1] if last else timezone.now() + timedelta(hours=1)
        hours, found = 0, []
        for stretch in rollup_check.iter_stretches(begin, end):
            hours += 1
            if differing := rollup_check.differences(stretch):
                found += differing
                if repair:
                    rollup_check.repair(stretch)
        self._say(hours, found, repaired=repair, as_json=options["json"])
        if found and not repair:
            raise CommandError(f"{len(found)} sums of the hours are not those of the rows. --repair rewrites them.")

    def _say(self, hours: int, found: list[Difference], *, repaired: bool, as_json: bool) -> None:
        lines = _lines(found)
        if as_json:
            self.stdout.write(json.dumps({"hours": hours, "repaired": repaired, "differences": lines}))
            return
        for line in lines[:SHOWN]:
            self.stdout.write("{hour} {key} {model} {upstream} {status}: {column} {rows:,} ≠ {hours:,}".format(**line))
        if len(lines) > SHOWN:
            self.stdout.write(f"… and {len(lines) - SHOWN:,} more")
        if not lines:
            self.stdout.write(f"{hours:,} hours are what their rows add up to.")
        elif repaired:
            self.stdout.write(f"{len(lines):,} sums were put right.")


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise CommandError(f"Give a day as 2026-11-30, not {text!r}.") from error


def _lines(differences: list[Difference]) -> list[dict[str, Any]]:
    """Each difference with the key's public id and its hour in the reporting time zone."""
    ids = {each.place[0] for each in differences}
    public_ids = dict(APIKey.objects.filter(pk__in=ids).values_list("pk", "public_id"))
    lines = []
    for each in differences:
        place = dict(zip(DIMENSIONS, each.place, strict=True))
        key, hour = public_ids.get(place.pop("api_key_id")), timezone.localtime(place.pop("hour"))
        sums = {"column": each.column, "rows": each.rows, "hours": each.hours}
        lines.append({"hour": hour.isoformat(timespec="minutes"), "key": key, **place, **sums})
    return lines
