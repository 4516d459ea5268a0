"""Verification and repair of daily and monthly rollups against those that they are made of."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from keys.models import BuiltPeriod
from keys.usage import coarse_rollups, coarse_statements
from keys.usage.coarse_statements import TIERS
from keys.usage.rollup_check import Mismatch

_AFTER_API_KEY = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class CoarseMismatch(Mismatch):
    """A measure for which a day and its hours disagree, or a month and its days."""

    tier: str


def periods(begin: datetime, end: datetime) -> Iterator[BuiltPeriod]:
    """Yield the complete days, then the months, that overlap an interval and that can be compared."""
    built = BuiltPeriod.objects.filter(begin__lt=end, end__gt=begin, is_complete=True)
    yield from built.order_by("tier", "begin")


def mismatches(period: BuiltPeriod) -> list[CoarseMismatch]:
    """Return where the rollups of a period are not the sums of what they are made of."""
    found = [
        CoarseMismatch(
            tier=period.tier,
            dimensions=(*subject[:_AFTER_API_KEY], period.begin, *subject[_AFTER_API_KEY:]),
            measure=measure,
            records=of_source,
            rollups=stored,
        )
        for subject, measure, of_source, stored in coarse_statements.differences(
            TIERS[period.tier], period.begin, period.end
        )
    ]
    # An hour may have changed since the period was read; then it is not complete any more.
    return found if found and _is_unchanged(period) else []


def _is_unchanged(period: BuiltPeriod) -> bool:
    return BuiltPeriod.objects.filter(pk=period.pk, token=period.token, is_complete=True).exists()


def repair(period: BuiltPeriod) -> None:
    """Build a period again."""
    with transaction.atomic():
        BuiltPeriod.objects.filter(begin__lte=period.begin, end__gte=period.end).delete()
    coarse_rollups.build((period.tier, period.begin, period.end))
