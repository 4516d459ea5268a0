"""Command that shows usage as a table, CSV or JSON."""

from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.http import QueryDict
from django.utils import timezone

from keys.explore import intervals, measures, question
from keys.explore.answer import answer
from keys.explore.question import Question
from keys.exports.answers import answer_table
from keys.exports.formats import FORMATS
from keys.exports.tables import Column, ExportTable, ValueType
from lib import money
from lib.admin import cells
from lib.printable import printable

SHOWN_MEASURES = ("requests", "cost", "all_input_tokens", "output_tokens", "error_rate")
EXAMPLES = """
Examples:
  manage.py usage_report --range last_month --by team --by model
  manage.py usage_report --from 2026-10-01 --to 2026-11-01 --by model --filter team=3 --format csv > october.csv
  manage.py usage_report --range yesterday --by model --measure latency_p95
  manage.py usage_report --by upstream --filter not_outcome=completed --format json

--filter takes the parameters of the usage page's URL: name=value, or not_name=value.
"""


class Command(BaseCommand):
    help = "Show usage and cost of a range of time by up to two groups: the figures of the usage page."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(
            prog_name, subcommand, epilog=EXAMPLES, formatter_class=RawDescriptionHelpFormatter, **kwargs
        )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--range", choices=intervals.PRESETS, help="the range of time (default: 7d)")
        parser.add_argument("--from", dest="begin", metavar="TIME", help="its begin, such as 2026-10-01T14:00")
        parser.add_argument("--to", dest="end", metavar="TIME", help="its end, which is not part of it")
        parser.add_argument("--by", action="append", metavar="GROUP", help="team, owner, key, model, upstream, …")
        parser.add_argument("--measure", choices=measures.MEASURES, help="what rows are sorted by (default: cost)")
        parser.add_argument("--filter", action="append", default=[], metavar="NAME=VALUE", help="repeatable")
        parser.add_argument("--format", choices=("table", "csv", "json"), default="table")

    def handle(self, **options: Any) -> None:
        asked = _question(options)
        table = answer_table(answer(asked), query={"question": asked.query()})
        if options["format"] == "table":
            self.stdout.write(_as_text(asked, table))
        else:
            FORMATS[options["format"]].write(table, _Output(self.stdout))  # type: ignore[arg-type]


class _Output:
    """A binary file that writes to the command's output."""

    def __init__(self, stdout: Any) -> None:
        self._stdout = stdout

    def write(self, data: bytes) -> None:
        self._stdout.write(data.decode(), ending="")


def _question(options: dict[str, Any]) -> Question:
    """Return the question of the options. Raise CommandError for what the usage page would leave out."""
    parameters = QueryDict(mutable=True)
    for name, option in (("range", "range"), ("from", "begin"), ("to", "end"), ("measure", "measure")):
        if options[option]:
            parameters[name] = options[option]
    parameters.setlist("group", options["by"] or ["model"])
    for text in options["filter"]:
        name, separator, value = text.partition("=")
        if not separator:
            raise CommandError(f"--filter {text}: write NAME=VALUE.")
        parameters.appendlist(name, value)
    asked, left_out = question.parse(parameters)
    if left_out:
        raise CommandError(" ".join(left_out))
    return asked


def _as_text(asked: Question, table: ExportTable) -> str:
    """Return the groups and the most important measures in columns."""
    begin, end = (intervals.local(each) for each in (asked.interval.begin, asked.interval.end))
    zone = timezone.get_default_timezone_name()
    heading = f"{begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} ({zone})"
    wanted = [*(f"{name}_name" for name in asked.groups), *SHOWN_MEASURES]
    wanted += [asked.measure] if asked.measure not in SHOWN_MEASURES else []
    places = [
        i for i, column in enumerate(table.columns) if column.name.removesuffix("_usd").removesuffix("_ms") in wanted
    ]
    columns = [table.columns[i] for i in places]
    rows = [[_text(column, row[i]) for column, i in zip(columns, places, strict=True)] for row in table.rows]
    names = [_measure_of(column).removesuffix("_name").upper().replace("_", " ") for column in columns]
    return f"{heading}\n{_columns([names, *rows], columns)}"


def _measure_of(column: Column) -> str:
    """Return the name of a column without its unit."""
    return column.name.removesuffix("_usd").removesuffix("_ms")


def _columns(rows: Sequence[Sequence[str]], columns: Sequence[Column]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(columns))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column.type is ValueType.TEXT else cell.rjust(width)
            for cell, width, column in zip(row, widths, columns, strict=True)
        ).rstrip()
        for row in rows
    )


def _text(column: Column, value: Any) -> str:
    if value is None:
        return cells.NONE
    if column.type is ValueType.USD:
        return money.exact(value)
    if column.type is ValueType.COUNT:
        return f"{value:,}"
    return f"{value:,.3f}" if column.type is ValueType.NUMBER else printable(str(value))
