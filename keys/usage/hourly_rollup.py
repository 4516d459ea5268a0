"""Hourly rollups, written in the transactions that settle requests, so that they always match the usage records."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from functools import cache
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from keys.domain.latency_buckets import bucket_of
from keys.models import HourlyLatency, HourlyUsage, UsageRecord
from keys.models.usage import (
    AMOUNT_COLUMNS,
    CLIENT_ERRORS,
    NO_ID,
    ROLLUP_DIMENSIONS,
    TOKEN_COLUMNS,
    UNKNOWN_MODEL,
    part_names,
)
from lib import money
from lib.periods import begin_of_hour

Status = UsageRecord.Status

DIMENSIONS = ("api_key_id", "hour", *list(ROLLUP_DIMENSIONS)[1:])
COUNT_COLUMNS = (*TOKEN_COLUMNS, "web_searches")
"""Counts of usage records that are added up."""
MEASURES = (
    "requests",
    *COUNT_COLUMNS,
    "requests_without_usage",
    *(part for amount in AMOUNT_COLUMNS for part in part_names(amount)),
    "unpriced_requests",
    "client_errors",
    "requests_with_latency",
    "duration_ms",
)
LATENCIES = tuple(HourlyLatency.Measure.values)
"""Columns of usage records that have histograms."""
_AMOUNT_PARTS = [(amount, *part_names(amount)) for amount in AMOUNT_COLUMNS]

DimensionValues = tuple[Any, ...]
Bucket = tuple[str, int]
"""A measure of latency, and the number of a bucket."""


class RollupWriter:
    """The rollups of one transaction. `close` writes them."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self._connection = connection
        self._sums: dict[DimensionValues, tuple[Counter[str], Counter[Bucket]]] = {}
        self._has_subtracted = False

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a request that was just settled, given by its columns."""
        measures, buckets = self._sums_of(row)
        measures.update(measures_of(row))
        buckets.update(buckets_of(row))

    def subtract(self, row: Mapping[str, Any]) -> None:
        """Subtract a request that was added before and is counted otherwise from now on."""
        measures, buckets = self._sums_of(row)
        measures.subtract(measures_of(row))
        buckets.subtract(buckets_of(row))
        self._has_subtracted = True

    def _sums_of(self, row: Mapping[str, Any]) -> tuple[Counter[str], Counter[Bucket]]:
        return self._sums.setdefault(dimensions_of(row), (Counter(), Counter()))

    def close(self) -> None:
        """Add the sums to the tables, in the same order in every process, so that no two transactions deadlock."""
        if not self._sums:
            return
        rows: list[tuple[Any, ...]] = []
        for dimensions in sorted(self._sums):
            measures, _ = self._sums[dimensions]
            rows.append((*map(self._adapted, dimensions), *(measures[name] for name in MEASURES)))
        ids = {tuple(key): id for id, *key in self._execute(_rollup_sql(len(rows), self._connection.vendor), rows)}
        latencies = [
            (ids[tuple(map(self._adapted, dimensions))], *bucket, count)
            for dimensions, (_, buckets) in self._sums.items()
            for bucket, count in buckets.items()
            if count
        ]
        if latencies:
            self._execute(_latency_sql(len(latencies)), sorted(latencies))
        if self._has_subtracted:
            self._delete_empty(ids.values())
        self._sums.clear()

    def _execute(self, sql: str, rows: list[tuple[Any, ...]]) -> list[Any]:
        with self._connection.cursor() as cursor:
            cursor.execute(sql, [value for row in rows for value in row])
            return cursor.fetchall() if cursor.description else []

    def _delete_empty(self, ids: Iterable[int]) -> None:
        """Delete rollups of no request, which reports would show as a model or an upstream without requests."""
        HourlyLatency.objects.filter(hourly_usage__in=ids, requests=0).delete()
        HourlyUsage.objects.filter(pk__in=ids, requests=0).delete()

    def _adapted(self, value: Any) -> Any:
        return self._connection.ops.adapt_datetimefield_value(value) if isinstance(value, datetime) else value


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
    was_admitted = row["status"] != Status.REJECTED
    is_without_usage = was_admitted and (row.get("input_tokens") is None or row.get("output_tokens") is None)
    duration_ms = row.get("duration_ms")
    return {
        "requests": 1,
        **{name: row.get(name) or 0 for name in COUNT_COLUMNS},
        "requests_without_usage": int(is_without_usage),
        **_amount_parts(row),
        "unpriced_requests": int(was_admitted and row.get("cost_usd_picos") is None),
        "client_errors": int(row["status"] == Status.FAILED and row.get("error_type") in CLIENT_ERRORS),
        "requests_with_latency": int(duration_ms is not None),
        "duration_ms": duration_ms or 0,
    }


def buckets_of(row: Mapping[str, Any]) -> Iterator[Bucket]:
    """Yield the bucket of each latency that the request has."""
    for name in LATENCIES:
        if (value := row.get(name)) is not None:
            yield name, bucket_of(value)


def _amount_parts(row: Mapping[str, Any]) -> dict[str, int]:
    found = {}
    for amount, micros, rest in _AMOUNT_PARTS:
        found[micros], found[rest] = money.split(row.get(amount) or 0)
    return found


@cache
def _rollup_sql(count: int, vendor: str) -> str:
    # Without a declared type, which SQLite's driver would convert: the hour comes back as it was sent.
    returned = ["id", *DIMENSIONS]
    columns = [f'CAST("{name}" AS TEXT)' if name == "hour" and vendor == "sqlite" else f'"{name}"' for name in returned]
    sql = _upsert(HourlyUsage._meta.db_table, DIMENSIONS, MEASURES, count)
    return f"{sql} RETURNING {', '.join(columns)}"


@cache
def _latency_sql(count: int) -> str:
    return _upsert(HourlyLatency._meta.db_table, ("hourly_usage_id", "measure", "bucket"), ("requests",), count)


def _upsert(table: str, key: tuple[str, ...], added: tuple[str, ...], count: int) -> str:
    """Return the statement that inserts rows, or adds to the rows that have their key."""
    columns = ", ".join(f'"{name}"' for name in (*key, *added))
    row = f"({', '.join(['%s'] * (len(key) + len(added)))})"
    conflict = ", ".join(f'"{name}"' for name in key)
    adding = ", ".join(f'"{name}" = "{table}"."{name}" + excluded."{name}"' for name in added)
    return (
        f'INSERT INTO "{table}" ({columns}) VALUES {", ".join([row] * count)} '
        f"ON CONFLICT ({conflict}) DO UPDATE SET {adding}"
    )
