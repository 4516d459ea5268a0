"""Command that prints the hygiene report."""

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from keys.hygiene import findings, report


class Command(BaseCommand):
    help = (
        "Print findings about API keys, and models that were used without a price. The exit code is 1 if any finding "
        "needs attention. Examples: manage.py key_hygiene; "
        "manage.py key_hygiene --json | jq -r '.findings[] | \"\\(.count) \\(.name)\"'"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="write JSON")

    def handle(self, **options: Any) -> None:
        found = findings.examine()
        if options["json"]:
            self.stdout.write(json.dumps(report.as_dict(found), indent=2, ensure_ascii=False))
        else:
            self.stdout.write(report.as_text(found) or "No findings.")
        if found.needs_attention:
            sys.exit(1)
