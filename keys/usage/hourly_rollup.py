"""Hourly rollups, written in the transactions that settle requests, so that they always match the usage records."""

import operator
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Q

from keys.domain.latency_buckets import bucket_of
from keys.models import HourlyLatency, HourlyUsage, UsageRecord
from keys.models.usage import AMOUNT_COLUMNS, CLIENT_ERRORS, NO_ID, UNKNOWN_MODEL
from keys.usage import rollup_statements
from keys.usage.rollup_statements import COUNT_COLUMNS, DIMENSIONS, MEASURES, Bucket, DimensionValues
from lib import money
from lib.periods import begin_of_hour

Status = UsageRecord.Status

LATENCIES = tuple(HourlyLatency.Measure.values)
"""Columns of usage records that have histograms."""


class RollupWriter:
    """The rollups of one transaction. `close` writes them."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self._connection = connection
        self._sums: dict[DimensionValues, tuple[list[int], Counter[Bucket]]] = {}
        self._has_subtracted = False

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a request that was just settled, given by its columns."""
        measures, buckets = self._sums_of(row)
        measures[:] = map(operator.add, measures, _measures(row))
        for bucket in buckets_of(row):
            buckets[bucket] += 1

    def subtract(self, row: Mapping[str, Any]) -> None:
        """Subtract a request that was added before and is counted otherwise from now on."""
        measures, buckets = self._sums_of(row)
        measures[:] = map(operator.sub, measures, _measures(row))
        for bucket in buckets_of(row):
            buckets[bucket] -= 1
        self._has_subtracted = True

    def _sums_of(self, row: Mapping[str, Any]) -> tuple[list[int], Counter[Bucket]]:
        dimensions = dimensions_of(row)
        sums = self._sums.get(dimensions)
        if sums is None:
            sums = self._sums[dimensions] = ([0] * len(MEASURES), Counter())
        return sums

    def close(self) -> None:
        """Add the sums to the tables, in the same order in every process, so that no two transactions deadlock."""
        if not self._sums:
            return
        rollups = sorted(self._sums)
        rollup_statements.add(self._connection, [(key, self._sums[key][0]) for key in rollups])
        latencies = [
            (key, measure, bucket, count)
            for key in rollups
            for (measure, bucket), count in sorted(self._sums[key][1].items())
            if count
        ]
        if latencies:
            rollup_statements.add_latencies(self._connection, latencies)
        if self._has_subtracted:
            self._delete_empty(rollups)
        self._sums.clear()

    def _delete_empty(self, rollups: Iterable[DimensionValues]) -> None:
        """Delete rollups of no request, which reports would show as a model or an upstream without requests."""
        named = Q(pk__in=())
        for dimensions in rollups:
            named |= Q(**dict(zip(DIMENSIONS, dimensions, strict=True)))
        ids = list(HourlyUsage.objects.filter(named).values_list("pk", flat=True))
        HourlyLatency.objects.filter(hourly_usage__in=ids, requests=0).delete()
        HourlyUsage.objects.filter(pk__in=ids, requests=0).delete()


def dimensions_of(row: Mapping[str, Any]) -> DimensionValues:
    """Return the dimensions of a request's rollup: `ROLLUP_DIMENSIONS`, and its hour."""
    is_model_known = row["is_model_known"]
    return (
        row["api_key_id"],
        begin_of_hour(row["created_at"]),
        row["team_id"] or NO_ID,
        row["owner_id"] or NO_ID,
        row["model"] if is_model_known else UNKNOWN_MODEL,
        row["upstream"],
        row["upstream_model"] if is_model_known else UNKNOWN_MODEL,
        row["api_format"],
        row["status"],
        row["error_type"],
        row["usage_source"],
    )


def measures_of(row: Mapping[str, Any]) -> dict[str, int]:
    """Return what one settled request adds to each measure. Rejected requests have neither tokens nor a price."""
    return dict(zip(MEASURES, _measures(row), strict=True))


def _measures(row: Mapping[str, Any]) -> list[int]:
    """Return them in the order of `MEASURES`."""
    was_admitted = row["status"] != Status.REJECTED
    is_without_usage = was_admitted and (row.get("input_tokens") is None or row.get("output_tokens") is None)
    duration_ms = row.get("duration_ms")
    return [
        1,
        *[row.get(name) or 0 for name in COUNT_COLUMNS],
        int(is_without_usage),
        *[part for amount in AMOUNT_COLUMNS for part in money.split(row.get(amount) or 0)],
        int(was_admitted and row.get("cost_usd_picos") is None),
        int(row["status"] == Status.FAILED and row.get("error_type") in CLIENT_ERRORS),
        int(duration_ms is not None),
        duration_ms or 0,
    ]


def buckets_of(row: Mapping[str, Any]) -> Iterator[Bucket]:
    """Yield the bucket of each latency that the request has."""
    for name in LATENCIES:
        if (value := row.get(name)) is not None:
            yield name, bucket_of(value)
