"""
Application of a changed reporting time zone, in steps: each is a transaction that also stores how far the change is.

First the current period of each budget gets the bounds of the zone, then the rollups are re-added by its hours, from
the latest to the first. One process does a step at a time; if it is killed, another one continues.
"""

import logging
import time
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from django.db import transaction
from django.db.models import Max, Min
from django.utils import timezone

from keys.budgets import period_bounds
from keys.models import Budget, HourlyUsage, ReportingZone, UsageRecord
from keys.usage import reporting_zone, rollup_check
from keys.usage.reporting_zone import GRACE, ROWS
from keys.usage.rollup_check import interval_of
from lib import periods

logger = logging.getLogger(__name__)

SLICE_S = 0.2
"""Requests of this worker wait for a step, and settlements of all workers for the hour that it re-adds."""
MAX_UNCHANGED_HOURS = 1_000
TICK = timedelta(microseconds=1)


def apply_slice() -> None:
    """Apply a change for a slice of time. Runs every second, and does nothing without a change."""
    if not reporting_zone.is_changing():
        return
    ends_at = time.monotonic() + SLICE_S
    while time.monotonic() < ends_at and apply_step():
        pass


def apply_step() -> bool:
    """Apply a change to one budget or one hour. Return whether there may be more to do now."""
    row = ROWS.first()
    if row is None or not _is_due(row):
        return False
    with transaction.atomic():
        locked = ROWS.select_for_update(skip_locked=True).first()
        if locked is None or not _is_due(locked):
            return False  # another process does it
        if locked.budgets_after is not None:
            _apply_to_next_budget(locked)
        else:
            _apply_to_previous_hour(locked)
        locked.save(update_fields=["budgets_after", "rollups_before"])
    if not locked.is_changing:
        logger.warning("Budgets and rollups follow the reporting time zone %s", locked.name)
    return True


def _is_due(row: ReportingZone) -> bool:
    """Return whether there is something to do. Rollups wait until all processes write hours of the new zone."""
    if row.name != str(periods.zone()):
        return False
    if row.budgets_after is not None:
        return True
    return row.rollups_before is not None and timezone.now() >= row.changed_at + GRACE


def _apply_to_next_budget(row: ReportingZone) -> None:
    budgets = Budget.objects.filter(pk__gt=row.budgets_after).order_by("pk")
    row.budgets_after = budgets.values_list("pk", flat=True).first()
    if row.budgets_after is not None:
        period_bounds.move(row.budgets_after, now=timezone.now())


def _apply_to_previous_hour(row: ReportingZone) -> None:
    """Re-add the hour before those that are done, unless the previous zone had the same one."""
    assert row.rollups_before is not None
    moment = _last_moment(row.rollups_before)
    first = _first_moment()
    if moment is None or first is None:
        row.rollups_before = None
        return
    previous = ZoneInfo(row.previous) if row.previous else None
    for _ in range(MAX_UNCHANGED_HOURS):
        interval = interval_of(moment, periods.zone())
        row.rollups_before = interval.begin
        if previous is None or interval_of(moment, previous) != interval:
            rollup_check.repair(interval)
            return
        if interval.begin <= first:
            return
        moment = interval.begin - TICK


def _last_moment(before: datetime) -> datetime | None:
    settled = UsageRecord.objects.filter(created_at__lt=before, settled_at__isnull=False)
    rollups = HourlyUsage.objects.filter(hour__lt=before)
    found = [settled.aggregate(last=Max("created_at"))["last"], rollups.aggregate(last=Max("hour"))["last"]]
    return max((moment for moment in found if moment is not None), default=None)


def _first_moment() -> datetime | None:
    found = [
        UsageRecord.objects.aggregate(first=Min("created_at"))["first"],
        HourlyUsage.objects.aggregate(first=Min("hour"))["first"],
    ]
    return min((moment for moment in found if moment is not None), default=None)
