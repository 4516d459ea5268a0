"""Import of bills: lines are staged in batches and count once the last one is stored.

A killed import leaves lines that nothing reads. The import of the same file can be repeated immediately and removes
them; those of other files are removed by the first import after a day.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from itertools import islice
from pathlib import PurePath
from typing import BinaryIO

from django.db import IntegrityError, transaction
from django.utils import timezone

from keys.bills.exports import Export, read_export
from keys.bills.lines import BillError, Line, printable
from keys.models import Bill, BillLine
from lib.pace import Pace, no_pace

BATCH = 500
ABANDONED_AFTER = timedelta(days=1)
MAX_DAYS = 400
CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportedBill:
    bill: Bill
    is_new: bool
    """False if the same file was imported before: nothing changed."""
    superseded: list[Bill]
    """Older exports of days that are all in this one."""


def import_bill(
    file: BinaryIO,
    *,
    upstream: str,
    file_name: str,
    imported_by: str,
    mapping: Mapping[str, str] | None = None,
    pace: Pace = no_pace,
) -> ImportedBill:
    """Import an export, all of it or nothing. Raise BillError. A file that was imported before is not imported again.

    The file must be seekable. It is read in parts, and stored in transactions of BATCH lines.
    """
    if not upstream.strip() or not upstream.isprintable():
        raise BillError("Upstream: enter its name without line breaks or control characters.")
    digest = _digest(file, mapping, pace)
    if known := _known(upstream, digest):
        return ImportedBill(bill=known, is_new=False, superseded=[])
    _remove_abandoned(upstream, digest)
    export = read_export(file, mapping=mapping)
    bill = Bill.objects.create(
        upstream=upstream,
        format=export.format,
        file_name=printable(PurePath(file_name).name)[:200],
        file_digest=digest,
        imported_by=imported_by[:150],
    )
    try:
        _stage(bill, export, pace)
        return ImportedBill(bill=bill, is_new=True, superseded=_publish(bill))
    except IntegrityError:  # the same file was imported meanwhile
        remove(bill)
        if known := _known(upstream, digest):
            return ImportedBill(bill=known, is_new=False, superseded=[])
        raise
    except BaseException:
        remove(bill)
        raise


def _known(upstream: str, digest: str) -> Bill | None:
    return Bill.objects.filter(upstream=upstream, file_digest=digest).exclude(state=Bill.State.IMPORTING).first()


def _digest(file: BinaryIO, mapping: Mapping[str, str] | None, pace: Pace) -> str:
    """Return the digest of the file, and of the columns: another mapping gives other lines."""
    digest = hashlib.sha256()
    file.seek(0)
    while data := file.read(CHUNK):
        digest.update(data)
        pace()
    if mapping:
        digest.update(repr(sorted(mapping.items())).encode())
    return digest.hexdigest()


# ---- Staging.


def _stage(bill: Bill, export: Export, pace: Pace) -> None:
    """Store the lines in batches, and set the figures of the bill, which is not saved."""
    days: set[date] = set()
    for batch in _batches(_counted(export, days, pace)):
        BillLine.objects.bulk_create([_row(bill, bill.line_count + i, line) for i, line in enumerate(batch)])
        bill.line_count += len(batch)
        bill.has_tokens |= any(line.quantity is not None and line.kind != BillLine.LineKind.REQUEST for line in batch)
        bill.has_amounts |= any(line.amount_usd_picos is not None for line in batch)
    if not bill.line_count:
        raise BillError("The file has no lines: only days without usage, or nothing.")
    bill.first_day, bill.last_day = min(days), max(days)
    if (bill.last_day - bill.first_day).days >= MAX_DAYS:
        raise BillError(f"The file covers {bill.first_day} to {bill.last_day}: more than {MAX_DAYS} days.")


def _counted(export: Export, days: set[date], pace: Pace) -> Iterator[Line]:
    for line in export.lines:
        days.add(line.day)
        if len(days) > MAX_DAYS:
            raise BillError(f"The file covers more than {MAX_DAYS} days.")
        if isinstance(line, Line):
            yield line
        pace()


def _batches(lines: Iterator[Line]) -> Iterator[list[Line]]:
    while batch := list(islice(lines, BATCH)):
        yield batch


def _row(bill: Bill, number: int, line: Line) -> BillLine:
    return BillLine(bill=bill, number=number, **asdict(line))


@transaction.atomic
def _publish(bill: Bill) -> list[Bill]:
    """Make the lines of a bill count, and supersede the exports that it replaces. Raise IntegrityError."""
    bill.state = Bill.State.IMPORTED
    bill.save()
    older = Bill.objects.filter(
        upstream=bill.upstream,
        format=bill.format,
        state=Bill.State.IMPORTED,
        first_day__gte=bill.first_day,
        last_day__lte=bill.last_day,
    ).exclude(pk=bill.pk)
    superseded = list(older)
    for each in superseded:
        each.state, each.superseded_by = Bill.State.SUPERSEDED, bill
        each.save(update_fields=["state", "superseded_by"])
    return superseded


# ---- Removal.


def _remove_abandoned(upstream: str, digest: str) -> None:
    staged = Bill.objects.filter(state=Bill.State.IMPORTING)
    for bill in staged.filter(upstream=upstream, file_digest=digest):
        remove(bill)
    for bill in staged.filter(imported_at__lt=timezone.now() - ABANDONED_AFTER):
        remove(bill)


def remove(bill: Bill) -> None:
    """Delete a staged bill with its lines, in batches: one transaction would block the ledger."""
    while numbers := list(bill.lines.order_by("number").values_list("pk", flat=True)[:BATCH]):
        BillLine.objects.filter(pk__in=numbers).delete()
    bill.delete()
