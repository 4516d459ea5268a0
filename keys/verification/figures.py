"""
Figures of a day from each source, which must be equal: usage records, hourly rollups, usage report and export.

The records' checksums are verified first, so that a wrong figure is traced to the record or the hour that was changed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Any

from keys.models import UsageRecord
from keys.reports import totals, usage_csv, usage_report
from keys.reports.date_range import DateRange
from keys.reports.totals import Totals, add_up
from keys.reports.usage_report import KeyLabel, UsageSlice
from keys.usage import figures_checksum, rollup_check
from lib import money
from lib.consistent_reads import consistent_reads

BATCH_SIZE = 2_000
NUMBERS = list(usage_csv.COLUMNS)[4:]
"""The columns of an export that add up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Disagreement:
    """A figure that differs between two sources, or a record that was changed."""

    source: str
    """The source that differs from the records: `record`, `hour`, `report` or `export`."""
    place: str
    """The ID of the record, or the time and dimensions of the figure."""
    figure: str
    records: str
    found: str


Check = Callable[[DateRange, Totals], Iterator[Disagreement]]


def verify(day: date) -> tuple[Totals, list[Disagreement]]:
    """Return the totals of a day's records, and what disagrees with them. Reads the database as it is at one moment."""
    dates = DateRange(first=day, last=day)
    with consistent_reads():
        begin, end = dates.bounds()
        recorded = totals.total(UsageRecord.objects.filter(created_at__gte=begin, created_at__lt=end).order_by())
        return recorded, [found for check in CHECKS for found in check(dates, recorded)]


def changed_records(dates: DateRange, recorded: Totals) -> Iterator[Disagreement]:
    """Yield the settled records whose checksum is not that of their figures."""
    for row in settled(dates):
        if not figures_checksum.is_valid(row):
            stated = row["figures_checksum"] or "none"
            yield Disagreement(source="record", place=row["id"], figure="checksum", records=stated, found="another")


def settled(dates: DateRange) -> Iterator[dict[str, Any]]:
    """Yield the columns of the settled records of a range, in batches."""
    begin, end = dates.bounds()
    records = UsageRecord.objects.filter(created_at__gte=begin, created_at__lt=end, settled_at__isnull=False).order_by()
    return records.values(*figures_checksum.COLUMNS, "figures_checksum").iterator(chunk_size=BATCH_SIZE)


def wrong_hours(dates: DateRange, recorded: Totals) -> Iterator[Disagreement]:
    """Yield the measures of hourly rollups that are not those of their records."""
    for interval in rollup_check.iter_intervals(*dates.bounds()):
        for each in rollup_check.mismatches(interval):
            key, hour, *others = each.dimensions
            named = " ".join(str(value) for value in others if value not in ("", 0))
            yield Disagreement(
                source="hour",
                place=f"{hour:%Y-%m-%dT%H:%MZ} key {key} {named}",
                figure=each.measure,
                records=f"{each.records}",
                found=f"{each.rollups}",
            )


def wrong_reports(dates: DateRange, recorded: Totals) -> Iterator[Disagreement]:
    """Yield the totals of hours and of each table of the usage report that are not those of the records."""
    report = usage_report.report(dates)
    hours = totals.total(totals.hourly(*dates.bounds()))
    yield from _compare("report", dates, "hours", replace(recorded, in_flight=0), hours)
    yield from _compare("report", dates, "total", recorded, report.total)
    for name, rows in (("days", report.days), ("keys", report.keys), ("models", report.models)):
        yield from _compare("report", dates, name, recorded, add_up([row.totals for row in rows]))


def _compare(source: str, dates: DateRange, table: str, recorded: Totals, found: Totals) -> Iterator[Disagreement]:
    for name in totals.NAMES:
        if getattr(recorded, name) != getattr(found, name):
            yield Disagreement(
                source=source,
                place=f"{dates.first} {table}",
                figure=name,
                records=f"{getattr(recorded, name)}",
                found=f"{getattr(found, name)}",
            )


def wrong_exports(dates: DateRange, recorded: Totals) -> Iterator[Disagreement]:
    """Yield the columns of the export whose sum is not that of the records."""
    sums = dict.fromkeys(NUMBERS, Decimal(0))
    for row in usage_csv.rows(dates):
        for name, cell in zip(usage_csv.COLUMNS, row, strict=True):
            if name in sums:
                sums[name] += Decimal(cell or 0)
    label = KeyLabel(public_id="", name="")
    whole = UsageSlice(day=dates.first, key=label, model="", totals=recorded)
    expected = {name: Decimal(usage_csv.COLUMNS[name](whole) or 0) for name in NUMBERS}
    expected["cost_usd"] = Decimal(money.decimal(recorded.cost_picos))
    for name in NUMBERS:
        if sums[name] != expected[name]:
            yield Disagreement(
                source="export", place=f"{dates.first}", figure=name, records=f"{expected[name]}", found=f"{sums[name]}"
            )


CHECKS: list[Check] = [changed_records, wrong_hours, wrong_reports, wrong_exports]
"""The comparisons of a day, each of the records with another source."""
