"""Deletion of bills, such as of one that was imported for the wrong upstream."""

from auditlog.context import disable_auditlog
from auditlog.models import LogEntry
from django.db import transaction

from audit import log
from keys.bills.importing import remove
from keys.bills.results import months_of
from keys.models import Bill, SignedOffMonth


class SignedOffBill(Exception):
    """A bill of which a signed-off month has figures."""


def signed_off_with(bill: Bill) -> list[SignedOffMonth]:
    """Return the signed-off months that have figures of a bill."""
    months = SignedOffMonth.objects.filter(upstream=bill.upstream, month__in=months_of(bill))
    return [month for month in months if any(each["id"] == bill.pk for each in month.figures["bills"])]


def delete_bill(bill: Bill) -> None:
    """Delete a bill. Those that it superseded count again. Raise SignedOffBill.

    The bill counts no longer once the first transaction ends, which writes the audit entry too. Its lines are deleted
    in batches. A killed deletion is finished by the first import after a day.
    """
    with transaction.atomic():
        bill = Bill.objects.select_for_update().get(pk=bill.pk)
        if signed_off_with(bill):
            raise SignedOffBill
        older = Bill.objects.filter(superseded_by=bill, state=Bill.State.SUPERSEDED)
        if bill.state == Bill.State.IMPORTED:
            older.update(state=Bill.State.IMPORTED, superseded_by=None)
        else:
            older.update(superseded_by=bill.superseded_by)
        changes = {name: [str(getattr(bill, name)), "None"] for name in ("upstream", "format", "file_name")}
        log.record(bill, changes, action=LogEntry.Action.DELETE)
        bill.state = Bill.State.IMPORTING
        with disable_auditlog():  # the entry is written
            bill.save(update_fields=["state"])
    with disable_auditlog():  # the entry is written
        remove(bill)
