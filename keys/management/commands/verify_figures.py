"""Command that proves that records, hours, report and export agree for a period, or that an exported file is intact."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from keys.reports.date_range import start_of
from keys.reports.signed_csv import UnreadableExport
from keys.usage import reporting_zone, rollup_check
from keys.verification import exports
from keys.verification.figures import Disagreement
from keys.verification.proof import Proof
from keys.verification.renewal import renew
from lib import money
from lib.arguments import day
from lib.printable import printable

BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)
SHOWN = 20


class Command(BaseCommand):
    help = (
        "Compare usage records, hourly rollups, usage report, export and imported bills of a period, and verify the "
        "checksum of each record. Exits with 1 and names the record or the hour if anything disagrees. With --export, "
        "verify a file. Example: manage.py verify_figures --from 2026-11-01 --to 2026-11-30"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--from", dest="first", metavar="DATE", type=day, help="first day (default: all days)")
        parser.add_argument("--to", dest="last", metavar="DATE", type=day, help="last day (default: today)")
        parser.add_argument("--export", metavar="FILE", type=Path, help="verify an exported CSV file instead")
        parser.add_argument(
            "--renew", action="store_true", help="sign the records with the first pepper of API_KEY_PEPPERS instead"
        )
        parser.add_argument("--json", action="store_true", help="write the result to stdout as JSON")

    def handle(self, *, first: date | None, last: date | None, export: Path | None, **options: Any) -> None:
        if first and last and last < first:
            raise CommandError("The last day is before the first.")
        reporting_zone.follow_only()
        if export is not None:
            self._verify_export(export)
        elif options["renew"]:
            renewed = sum(renew(each) for each in _days(first, last))
            self.stdout.write(f"{renewed:,} checksums renewed.")
        else:
            self._verify(first, last, as_json=options["json"])

    # ---- A period.

    def _verify(self, first: date | None, last: date | None, *, as_json: bool) -> None:
        proof = Proof()
        for each in _days(first, last):
            proof.add_day(each)
        if proof.days:
            proof.add_bills(first or proof.days[0], last or proof.days[-1])
        if as_json:
            self.stdout.write(json.dumps(proof.as_json()))
        else:
            self._report(proof)
        if proof.number:
            raise CommandError(f"{proof.number:,} figures disagree with the usage records.")

    def _report(self, proof: Proof) -> None:
        total, number, kept, days = proof.total, proof.number, proof.kept, len(proof.days)
        for each in kept[:SHOWN]:
            self.stdout.write(_line(each))
        if number > SHOWN:
            self.stdout.write(f"… and {number - SHOWN:,} more")
        if not number:
            subject = _days_of(days)
            figures = f"{total.requests:,} requests, {total.rejected:,} rejected, {total.tokens:,} tokens"
            cost = money.exact(total.cost_picos)
            self.stdout.write(f"Records, hours, report and export of {subject} with requests agree: {figures}, {cost}.")
        for bill in proof.bills:
            self.stdout.write(
                f"Bill of {printable(bill.upstream)}, {_days_of(bill.days, 'UTC ')}: {money.exact(bill.billed)} = "
                f"{money.exact(bill.recorded)} recorded + {money.exact(bill.explained)} explained + "
                f"{money.exact(bill.unexplained)} unexplained"
            )

    # ---- A file.

    def _verify_export(self, path: Path) -> None:
        try:
            checked = exports.check(path)
            if checked.is_unchanged:
                query = " ".join(f"{name}={value}" for name, value in checked.query.items())
                self.stdout.write(f"The file is as it was exported: {printable(query)}")
                return
            for each in islice(exports.different_lines(path), SHOWN):
                place = "missing" if each.number is None else f"line {each.number}"
                self.stdout.write(f"{place}: {printable(','.join(each.cells))}")
        except UnreadableExport as error:
            raise CommandError(str(error)) from error
        raise CommandError("The file is not as it was exported. Above: lines that differ from the figures now.")


def _days_of(count: int, kind: str = "") -> str:
    return f"{count:,} {kind}{'day' if count == 1 else 'days'}"


def _line(found: Disagreement) -> str:
    place = printable(found.place)
    if found.source == "record":
        return f"record {place}: its figures were changed"
    return f"{found.source} {place}: {found.figure} {found.records} in the records, {found.found} found"


def _days(first: date | None, last: date | None) -> Iterator[date]:
    """Yield the days with records or rollups, from the first to the last. Default: all up to today."""
    end = start_of((last or timezone.localdate()) + timedelta(days=1))
    begin = start_of(first) if first else BEGINNING
    while (moment := rollup_check.next_moment(begin, end)) is not None:
        each = timezone.localtime(moment, timezone.get_default_timezone()).date()
        yield each
        begin = start_of(each + timedelta(days=1))
