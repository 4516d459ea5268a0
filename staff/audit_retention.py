"""Deletion of old entries of the audit log and of logins, in batches."""

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from auditlog.models import LogEntry
from axes.models import AccessLog
from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

BATCH = 1_000
SLICE_S = 0.2


def older_than(days: int) -> tuple[QuerySet[Any], QuerySet[Any]]:
    """Return the entries and the logins that are older, the oldest first."""
    end = timezone.now() - timedelta(days=days)
    return (
        LogEntry.objects.filter(timestamp__lt=end).order_by("timestamp"),
        AccessLog.objects.filter(attempt_time__lt=end).order_by("attempt_time"),
    )


def batches(rows: QuerySet[Any], batch: int = BATCH) -> Iterator[int]:
    """Delete rows in batches, each a transaction. Yield the number of each."""
    while ids := list(rows.values_list("pk", flat=True)[:batch]):
        rows.model._default_manager.filter(pk__in=ids).delete()
        yield len(ids)


def purge_slice() -> None:
    """Delete for a slice of time, as RETAIN_AUDIT_DAYS says. Runs in every worker."""
    if not settings.RETAIN_AUDIT_DAYS:
        return
    ends_at = time.monotonic() + SLICE_S
    for rows in older_than(settings.RETAIN_AUDIT_DAYS):
        for _ in batches(rows):
            if time.monotonic() >= ends_at:
                return
