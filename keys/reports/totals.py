"""What calls add up to: the sums of reports, read from the hours, and the calls that run now, which are in none yet."""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import BigIntegerField, Count, Q, QuerySet, Sum, Value

from keys.models import HourlyUsage, UsageRecord

Status = UsageRecord.Status
UsageSource = UsageRecord.UsageSource


@dataclass(frozen=True, kw_only=True, slots=True)
class Totals:
    """What some calls add up to. Refused calls are counted apart: they reached no upstream."""

    completed: int = 0
    left: int = 0
    """The caller left or stopped reading."""
    errors: int = 0
    """Failed, or orphaned by a worker that died."""
    running: int = 0
    rejected: int = 0
    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    unknown: int = 0
    """Ended calls of which nobody said the input or the output. What was said of them is in the sums."""
    reported: int = 0
    partial: int = 0
    estimated: int = 0
    unsaid: int = 0
    """Ended calls with the usage source `none`."""
    cost: int = 0
    """Micro-dollars, of the calls that have a price."""
    unpriced: int = 0
    """Ended calls whose model had no price. Their cost is not known, so it is not in the sum."""

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(**{name: getattr(self, name) + getattr(other, name) for name in NAMES})

    def __sub__(self, other: "Totals") -> "Totals":
        return Totals(**{name: getattr(self, name) - getattr(other, name) for name in NAMES})

    @property
    def requests(self) -> int:
        return self.ended + self.running

    @property
    def ended(self) -> int:
        return self.completed + self.left + self.errors

    @property
    def tokens_in(self) -> int:
        """All kinds of input: fresh, read from a cache, written to a cache."""
        return self.input + self.cache_read + self.cache_write

    @property
    def tokens(self) -> int:
        return self.tokens_in + self.output


NAMES = tuple(item.name for item in fields(Totals))


def from_columns(values: Any) -> Totals:
    """Sums from the values of their columns, in order."""
    return Totals(**dict(zip(NAMES, values, strict=True)))


_HAS_ENDED = ~Q(status=Status.REJECTED)


def _requests(condition: Q) -> Any:
    return Sum("requests", filter=condition, default=0)


def _all(*columns: str) -> Any:
    first, *others = (Sum(column, default=0) for column in columns)
    return sum(others, start=first)


_OF_HOURS: dict[str, Any] = {
    "completed": _requests(Q(status=Status.COMPLETED)),
    "left": _requests(Q(status__in=[Status.CLIENT_CLOSED, Status.CLIENT_STALLED])),
    "errors": _requests(Q(status__in=[Status.FAILED, Status.INTERRUPTED])),
    "running": Value(0, output_field=BigIntegerField()),
    "rejected": _requests(Q(status=Status.REJECTED)),
    "input": _all("input_tokens"),
    "cache_read": _all("cache_read_tokens"),
    "cache_write": _all("cache_write_5m_tokens", "cache_write_1h_tokens"),
    "output": _all("output_tokens"),
    "unknown": _all("requests_without_usage"),
    "reported": _requests(_HAS_ENDED & Q(usage_source=UsageSource.REPORTED)),
    "partial": _requests(_HAS_ENDED & Q(usage_source=UsageSource.PARTIAL)),
    "estimated": _requests(_HAS_ENDED & Q(usage_source=UsageSource.ESTIMATED)),
    "unsaid": _requests(_HAS_ENDED & Q(usage_source=UsageSource.NONE)),
    "cost": _all("cost_usd_micros"),
    "unpriced": _all("unpriced_requests"),
}


def hours(begin: datetime, end: datetime) -> QuerySet[HourlyUsage]:
    """The hours that begin in a half-open interval."""
    return HourlyUsage.objects.filter(hour__gte=begin, hour__lt=end).order_by()


def running(begin: datetime, end: datetime) -> QuerySet[UsageRecord]:
    """The calls that began in it and have not ended."""
    # By the condition of the index of running calls: that of their status would read every call of the period.
    return UsageRecord.objects.filter(created_at__gte=begin, created_at__lt=end, settled_at=None).order_by()


def summed(rows: QuerySet[Any], *subject: str, **constants: Any) -> Any:
    """Rows of values: those of `subject`, by which it is grouped, and then a column for each of the Sums.

    `constants` are columns of one value each that may be named in `subject`, so that such queries can be united.
    """
    columns = _OF_HOURS if rows.model is HourlyUsage else _OF_RUNNING
    grouped = rows.annotate(**constants).values(*subject)
    return grouped.annotate(**{f"{name}_sum": columns[name] for name in NAMES}).values_list(
        *subject, *(f"{name}_sum" for name in NAMES)
    )


_OF_RUNNING: dict[str, Any] = {
    name: Count("pk") if name == "running" else Value(0, output_field=BigIntegerField()) for name in NAMES
}


def named_models(*, limit: int) -> list[str]:
    """The models that were ever asked for, in order. One step in an index for each, however many hours there are."""
    table = HourlyUsage._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(
            f'WITH RECURSIVE named (model) AS (SELECT min(model) FROM "{table}" UNION ALL SELECT '
            f'(SELECT min(hours.model) FROM "{table}" AS hours WHERE hours.model > named.model) '
            "FROM named WHERE named.model IS NOT NULL) SELECT model FROM named WHERE model IS NOT NULL LIMIT %s",
            [limit],
        )
        return [model for (model,) in cursor.fetchall()]
