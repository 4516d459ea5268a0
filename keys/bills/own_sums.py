"""First step of a reconciliation: whether the usage records and the hourly rollups agree with each other."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django.db.models import F, Sum
from django.db.models.functions import Coalesce

from keys.bills.own import begin_of
from keys.models import HourlyUsage, UsageRecord
from keys.models.usage import BILLED_TOKEN_COLUMNS
from lib import money
from lib.periods import begin_of_hour

HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class OwnSums:
    """Sums of records and of rollups: tokens of each kind, and the cost in pico-dollars."""

    records: dict[str, int]
    rollups: dict[str, int]

    @property
    def agree(self) -> bool:
        return self.records == self.rollups


def compare_own_sums(upstream: str, first: date, last: date) -> OwnSums:
    """Sum the whole hours within UTC days: hours of some time zones begin at other minutes."""
    begin, end = _hour_from(begin_of(first)), _hour_from(begin_of(last + timedelta(days=1)))
    records = UsageRecord.objects.filter(
        upstream=upstream, settled_at__isnull=False, created_at__gte=begin, created_at__lt=end
    ).exclude(status="rejected")
    rollups = HourlyUsage.objects.filter(upstream=upstream, hour__gte=begin, hour__lt=end).exclude(status="rejected")
    tokens: dict[str, Any] = {name: Coalesce(Sum(name), 0) for name in BILLED_TOKEN_COLUMNS}
    cost = "cost_usd_picos"
    of_records = records.aggregate(
        **tokens,
        whole=Coalesce(Sum(F(cost) / money.PICOS_PER_MICRO), 0),
        rest=Coalesce(Sum(F(cost) % money.PICOS_PER_MICRO), 0),
    )
    of_rollups = rollups.aggregate(
        **tokens, whole=Coalesce(Sum("cost_usd_micros"), 0), rest=Coalesce(Sum("cost_usd_picos_rest"), 0)
    )
    return OwnSums(_joined(of_records), _joined(of_rollups))


def _joined(sums: dict[str, int]) -> dict[str, int]:
    whole, rest = int(sums.pop("whole")), int(sums.pop("rest"))
    return {name: int(value) for name, value in sums.items()} | {"cost_usd_picos": money.join(whole, rest)}


def _hour_from(moment: datetime) -> datetime:
    """Return the first beginning of an hour of the reporting time zone from a moment on."""
    begin = begin_of_hour(moment)
    return begin if begin == moment else begin + HOUR
