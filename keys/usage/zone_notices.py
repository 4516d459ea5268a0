"""Notices about the reporting time zone, for pages: what figures do not follow it yet, and servers that differ."""

from django.conf import settings
from django.utils import timezone

from keys.models import ReportingZone
from keys.usage import reporting_zone
from lib.periods import FOREVER


def notices() -> list[str]:
    """Return what a reader of reports should know about the time zone. One query."""
    row = reporting_zone.current()
    if row is None:
        return []
    found = []
    if row.name != settings.TIME_ZONE:
        found.append(
            f"REPORTING_TIME_ZONE is {settings.TIME_ZONE} here, but {row.name} is in effect, because other processes "
            f"have it or had it seconds ago. Budgets reset in {row.name}. Set the same time zone on all hosts."
        )
    if row.is_changing:
        found.append(_change(row))
    return found


def _change(row: ReportingZone) -> str:
    changed = f"The reporting time zone has changed to {row.name}."
    if row.rollups_before is None:
        return f"{changed} Budgets are being moved to its days, weeks and months."
    if row.rollups_before >= FOREVER:
        return f"{changed} Totals are about to be added up again."
    before = timezone.localtime(row.rollups_before)
    return f"{changed} Totals before {before:%Y-%m-%d %H:%M} are being added up again."
