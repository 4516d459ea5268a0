"""
Which days and months have complete rollups.

A period is marked as being built, then built, then marked as complete. Whatever changes one of its hours deletes the
mark in the same transaction, so that a build that overlaps with it fails and is repeated. Recent hours need no check:
a period is built only some hours after its end.
"""

import operator
from collections.abc import Collection
from datetime import datetime, timedelta
from functools import reduce

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import Q
from django.utils import timezone

from keys.models import BuiltPeriod

LOCK = 0x7469657273
"""Advisory lock on PostgreSQL: shared by transactions that change hours, exclusive for a moment when a build begins."""
RECENT = timedelta(hours=2)
"""No period is built that has ended within this time and an hour for clocks that differ."""
BUILT_AFTER = RECENT + timedelta(hours=1)


def invalidate(hours: Collection[datetime]) -> None:
    """Mark the periods of hours that this transaction changes as incomplete. No query for recent hours alone."""
    limit = timezone.now() - RECENT
    containing = [Q(begin__lte=hour, end__gt=hour) for hour in hours if hour < limit]
    if containing:
        _delete(reduce(operator.or_, containing))


def invalidate_all() -> None:
    """Mark all periods as incomplete."""
    _delete(Q())


def _delete(condition: Q) -> None:
    if connections[DEFAULT_DB_ALIAS].vendor == "postgresql":
        with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock_shared(%s)", [LOCK])
    # Locked in order, so that no two transactions deadlock.
    periods = BuiltPeriod.objects.filter(condition).order_by("begin", "tier").select_for_update()
    found = [(tier, begin) for tier, begin in periods.values_list("tier", "begin")]
    if found:
        BuiltPeriod.objects.filter(pk__in=found).delete()
