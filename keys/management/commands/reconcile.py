"""Command that imports a bill of a provider and compares it with the usage records."""

import json
from argparse import ArgumentTypeError
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from audit import log
from keys.bills.importing import ImportedBill, import_bill
from keys.bills.lines import BillError
from keys.bills.other_exports import MAPPED_FIELDS, parse_mapping
from keys.bills.results import in_dollars, reconcile_bill
from lib import money
from lib.printable import printable

OVER_THRESHOLD = 1
NOT_IMPORTED = 2
SHOWN_ITEMS = 10


def threshold(text: str) -> int:
    """Parse dollars to micro-dollars."""
    try:
        return money.parse(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error


class Command(BaseCommand):
    help = (
        "Import a bill of a provider and compare it with the usage records. Exits with 1 if more than the threshold is "
        "unexplained, and with 2 if the file cannot be imported. A file is imported once. "
        "Example: manage.py reconcile --bill cost_report.json --upstream anthropic --threshold 0.50"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--bill", required=True, type=Path, metavar="FILE", help="export of the provider")
        parser.add_argument("--upstream", required=True, metavar="NAME", help="upstream that the bill is of")
        parser.add_argument(
            "--threshold",
            type=threshold,
            default=0,
            metavar="USD",
            help="unexplained amount that is accepted, added up over the days without their signs (default: 0)",
        )
        parser.add_argument(
            "--columns",
            default="",
            metavar="FIELD=COLUMN,…",
            help=f"columns of any CSV file, such as day=Date,amount=Cost. Fields: {', '.join(MAPPED_FIELDS)}",
        )
        parser.add_argument("--json", action="store_true", help="write the result to stdout as JSON")

    def handle(self, *, bill: Path, upstream: str, threshold: int, columns: str, **options: Any) -> None:
        imported = self._import(bill, upstream, columns)
        result = reconcile_bill(imported.bill)
        if options["json"]:
            self.stdout.write(json.dumps(_meta(imported) | in_dollars(result), indent=1))
        else:
            self._write(imported, result)
        unexplained = result["unexplained_in_both_directions"]
        if unexplained > money.picos(threshold):
            raise CommandError(
                f"{money.exact(unexplained)} unexplained, more than the threshold of {money.dollars(threshold)}.",
                returncode=OVER_THRESHOLD,
            )
        if result["unexplained_tokens"] and not threshold:
            raise CommandError("Tokens are unexplained.", returncode=OVER_THRESHOLD)

    def _import(self, path: Path, upstream: str, columns: str) -> ImportedBill:
        try:
            with path.open("rb") as file:
                return import_bill(
                    file,
                    upstream=upstream,
                    file_name=path.name,
                    imported_by=log.command_line(),
                    mapping=parse_mapping(columns),
                )
        except OSError as error:
            raise CommandError(f"{path}: {error.strerror}", returncode=NOT_IMPORTED) from error
        except BillError as error:
            raise CommandError(f"{path}: {error}", returncode=NOT_IMPORTED) from error

    def _write(self, imported: ImportedBill, result: dict[str, Any]) -> None:
        bill = imported.bill
        state = "" if imported.is_new else " (imported before)"
        days = f"{result['first_day']} to {result['last_day']}"
        lines = [f"{bill.get_format_display()}, {days}, {bill.line_count:,} lines{state}"]
        lines += [f"Supersedes {each}" for each in imported.superseded]
        if result["own_sums"] and not result["own_sums"]["agree"]:
            lines.append("Usage records and hourly rollups disagree: run manage.py rollup_usage --verify first.")
        if result["are_keys_assumed"]:
            lines.append(f"Assumed key of the gateway: {', '.join(result['own_keys'])}. Choose it on the bill's page.")
        lines.append(f"{'Recorded':44}{money.exact(result['recorded']):>24}")
        for cause in result["causes"]:
            lines.append(f"{cause['label']:44}{money.exact(cause['picos']):>24}")
            lines += [f"  {item['text']}" for item in cause["items"][:SHOWN_ITEMS]]
        lines.append(f"{'Unexplained':44}{money.exact(result['unexplained']):>24}")
        lines += [f"  {each['day']} {each['model']}: {each['tokens']}" for each in result["unexplained_tokens"]]
        lines.append(f"{'Billed':44}{money.exact(result['billed']):>24}")
        for line in lines:
            self.stdout.write(printable(line))


def _meta(imported: ImportedBill) -> dict[str, Any]:
    bill = imported.bill
    return {
        "bill": bill.pk,
        "format": bill.format,
        "file": bill.file_name,
        "lines": bill.line_count,
        "is_new": imported.is_new,
        "superseded": [each.pk for each in imported.superseded],
    }
