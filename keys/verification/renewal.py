"""Renewal of the checksums of usage records after a change of API_KEY_PEPPERS."""

from datetime import date

from keys.models import UsageRecord
from keys.reports.date_range import DateRange
from keys.usage import figures_checksum
from keys.verification.figures import settled


def renew(day: date) -> int:
    """Sign the records of a day with the first pepper, where a previous one has signed. Return their number.

    A record with an invalid checksum keeps it. One that is settled late meanwhile is not changed.
    """
    renewed = 0
    for row in settled(DateRange(first=day, last=day)):
        if figures_checksum.is_valid(row) and not figures_checksum.is_current(row):
            unchanged = UsageRecord.objects.filter(pk=row["id"], figures_checksum=row["figures_checksum"])
            renewed += unchanged.update(figures_checksum=figures_checksum.checksum(row))
    return renewed
