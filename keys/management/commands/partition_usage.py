"""Command that partitions the usage records by month on PostgreSQL, or creates the partitions of coming months."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from keys.usage import record_table
from keys.usage.record_table import COMING_MONTHS, NotPartitionable
from lib.arguments import whole_number


class Command(BaseCommand):
    help = (
        "Convert the usage records to monthly partitions, on PostgreSQL, and create those of the coming months. The "
        "first run copies all records in one transaction; requests are rejected with 503 until it ends. Later runs "
        "only add months, as workers do by themselves. Example: manage.py partition_usage --months 6"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--months", type=whole_number(1, 24), default=COMING_MONTHS, help="coming months (default: %(default)s)"
        )

    def handle(self, *, months: int, **options: Any) -> None:
        try:
            created = [] if record_table.read_form(connection) else record_table.partition()
        except NotPartitionable as error:
            raise CommandError(str(error)) from error
        created += record_table.create_coming(months)
        self.stdout.write("\n".join(created) or "All partitions exist.")
