"""Usage totals: the figures that every report, page, export and API response shows, and the queries that read them."""

import operator
from collections.abc import Collection, Iterable
from dataclasses import dataclass, fields
from datetime import datetime
from functools import reduce
from typing import Any

from django.db import connection
from django.db.models import BigIntegerField, Count, Q, QuerySet, Sum, Value

from keys.models import HourlyUsage, UsageRecord
from keys.models.usage import IS_CLIENT_ERROR, IS_ERROR, part_names, parts_of
from lib import money

Status = UsageRecord.Status
UsageSource = UsageRecord.UsageSource


@dataclass(frozen=True, kw_only=True, slots=True)
class Totals:
    """Usage totals of a set of requests.

    A request has *finished* when it was admitted and then settled. An *error* is a finished request that failed or was
    interrupted. It is a client error if the client has to change the request, otherwise an upstream error. The error
    rate is the share of errors among finished requests. Rejected requests were not admitted and are counted apart.
    """

    completed: int = 0
    client_disconnected: int = 0
    """The client disconnected, or timed out while it should have read the response."""
    client_errors: int = 0
    """Failed because of the request itself, for example with 400."""
    upstream_errors: int = 0
    """Failed at the upstream or in the gateway, or interrupted by the end of a worker."""
    in_flight: int = 0
    rejected: int = 0
    input_tokens: int = 0
    """Without cache reads and cache writes."""
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    """With reasoning tokens."""
    without_usage: int = 0
    """Finished requests whose input or output tokens are unknown. Known counts of theirs are in the totals."""
    source_reported: int = 0
    source_partial: int = 0
    source_estimated: int = 0
    source_none: int = 0
    cost_picos: int = 0
    """Pico-dollars, of priced requests."""
    unpriced: int = 0
    """Finished requests without a price. Their cost is unknown and not in `cost_picos`."""

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(**{name: getattr(self, name) + getattr(other, name) for name in NAMES})

    def __sub__(self, other: "Totals") -> "Totals":
        return Totals(**{name: getattr(self, name) - getattr(other, name) for name in NAMES})

    @property
    def requests(self) -> int:
        """Admitted requests, finished or in flight."""
        return self.finished + self.in_flight

    @property
    def finished(self) -> int:
        return self.completed + self.client_disconnected + self.errors

    @property
    def errors(self) -> int:
        return self.client_errors + self.upstream_errors

    @property
    def all_input_tokens(self) -> int:
        """Input tokens with cache reads and cache writes."""
        return self.input_tokens + self.cache_read_tokens + self.cache_write_tokens

    @property
    def tokens(self) -> int:
        return self.all_input_tokens + self.output_tokens

    @property
    def is_unpriced(self) -> bool:
        """Whether no finished request has a price, so that the cost is unknown and not 0."""
        return bool(self.unpriced) and self.unpriced == self.finished


NAMES = tuple(item.name for item in fields(Totals))
_COST_PARTS = ("cost_micros", "cost_rest")
_COLUMNS = (*(name for name in NAMES if name != "cost_picos"), *_COST_PARTS)
"""The columns of `grouped`: the figures, and the cost in two parts, which stay within 64 bits."""


def from_columns(values: Iterable[int]) -> Totals:
    """Return totals from the values of their columns, in the order of `grouped`."""
    found = dict(zip(_COLUMNS, values, strict=True))
    micros, rest = (found.pop(name) for name in _COST_PARTS)
    return Totals(**found, cost_picos=money.join(micros, rest))


def add_up(parts: Collection[Totals]) -> Totals:
    return reduce(operator.add, parts, Totals())


def add_up_by(parts: Collection[tuple[Any, Totals]]) -> dict[Any, Totals]:
    """Add up totals by subject."""
    found: dict[Any, Totals] = {}
    for subject, part in parts:
        found[subject] = found[subject] + part if subject in found else part
    return found


# ---- the columns of both tables

_FINISHED = ~Q(status=Status.REJECTED) & ~Q(status=Status.STARTED)


def _counted(finished: Q) -> dict[str, Q]:
    """Return the figures that count requests, and the condition of each."""
    return {
        "completed": Q(status=Status.COMPLETED),
        "client_disconnected": Q(status=Status.CLIENT_CLOSED) | Q(status=Status.CLIENT_STALLED),
        "rejected": Q(status=Status.REJECTED),
        "source_reported": finished & Q(usage_source=UsageSource.REPORTED),
        "source_partial": finished & Q(usage_source=UsageSource.PARTIAL),
        "source_estimated": finished & Q(usage_source=UsageSource.ESTIMATED),
        "source_none": finished & Q(usage_source=UsageSource.NONE),
    }


def _sum(*columns: Any) -> Any:
    first, *others = (Sum(column, default=0) for column in columns)
    return sum(others, start=first)


_SUMMED = {
    "input_tokens": _sum("input_tokens"),
    "cache_read_tokens": _sum("cache_read_tokens"),
    "cache_write_tokens": _sum("cache_write_5m_tokens", "cache_write_1h_tokens"),
    "output_tokens": _sum("output_tokens"),
}
# Hourly rollups hold settled requests only: none is in flight, and every one that was not rejected has finished.
_OF_HOURS: dict[str, Any] = {
    **{
        name: Sum("requests", filter=condition, default=0)
        for name, condition in _counted(~Q(status=Status.REJECTED)).items()
    },
    **_SUMMED,
    **dict(zip(_COST_PARTS, map(_sum, part_names("cost_usd_picos")), strict=True)),
    "in_flight": Value(0, output_field=BigIntegerField()),
    "client_errors": _sum("client_errors"),
    "upstream_errors": Sum("requests", filter=IS_ERROR, default=0) - _sum("client_errors"),
    "without_usage": _sum("requests_without_usage"),
    "unpriced": _sum("unpriced_requests"),
}
_OF_RECORDS: dict[str, Any] = {
    **{name: Count("pk", filter=condition) for name, condition in _counted(_FINISHED).items()},
    **_SUMMED,
    **dict(zip(_COST_PARTS, map(_sum, parts_of("cost_usd_picos").values()), strict=True)),
    "in_flight": Count("pk", filter=Q(status=Status.STARTED)),
    "client_errors": Count("pk", filter=IS_CLIENT_ERROR),
    "upstream_errors": Count("pk", filter=IS_ERROR & ~IS_CLIENT_ERROR),
    "without_usage": Count("pk", filter=_FINISHED & (Q(input_tokens=None) | Q(output_tokens=None))),
    "unpriced": Count("pk", filter=_FINISHED & Q(cost_usd_picos=None)),
}


def grouped(rows: QuerySet[Any], *subject: str, **constants: Any) -> Any:
    """Return rows of values from hourly rollups or usage records: the subject, then the columns of the totals.

    `constants` are annotations that may be named in `subject`, so that queries with different groupings can be united.
    """
    expressions = _OF_HOURS if rows.model is HourlyUsage else _OF_RECORDS
    # Not the names themselves: Django would take those of columns for the aggregates.
    columns = {f"{name}_sum": expressions[name] for name in _COLUMNS}
    return rows.annotate(**constants).values(*subject).annotate(**columns).values_list(*subject, *columns)


def total(rows: QuerySet[Any]) -> Totals:
    """Add up hourly rollups or usage records. One query."""
    return add_up([from_columns(columns) for _, *columns in grouped(rows, "all", all=Value(0))])


# ---- the rows


def hourly(begin: datetime, end: datetime) -> QuerySet[HourlyUsage]:
    """Return the hourly rollups that start in a half-open interval."""
    return HourlyUsage.objects.filter(hour__gte=begin, hour__lt=end).order_by()


def in_flight(begin: datetime, end: datetime) -> QuerySet[UsageRecord]:
    """Return the requests that started in a half-open interval and are not settled."""
    # The condition of the index of in-flight requests: one on the status would read every request of the interval.
    return UsageRecord.objects.filter(created_at__gte=begin, created_at__lt=end, settled_at=None).order_by()


def named_models(*, limit: int) -> list[str]:
    """Return the models that were ever requested, in order. Takes one index step for each model."""
    table = HourlyUsage._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(
            f'WITH RECURSIVE named (model) AS (SELECT min(model) FROM "{table}" UNION ALL SELECT '
            f'(SELECT min(hours.model) FROM "{table}" AS hours WHERE hours.model > named.model) '
            "FROM named WHERE named.model IS NOT NULL) SELECT model FROM named WHERE model IS NOT NULL LIMIT %s",
            [limit],
        )
        return [model for (model,) in cursor.fetchall()]
