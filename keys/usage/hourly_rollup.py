"""Hourly rollups, written in the transactions that settle requests, so that they always match the usage records."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from keys.models import HourlyUsage, UsageRecord
from keys.models.usage import AMOUNT_COLUMNS, CLIENT_ERRORS, TOKEN_COLUMNS, UNKNOWN_MODEL, part_names
from lib import money
from lib.periods import begin_of_hour

Status = UsageRecord.Status

DIMENSIONS = ("api_key_id", "hour", "model", "upstream", "status", "usage_source")
MEASURES = (
    "requests",
    *TOKEN_COLUMNS,
    "requests_without_usage",
    *(part for amount in AMOUNT_COLUMNS for part in part_names(amount)),
    "unpriced_requests",
    "client_errors",
)

DimensionValues = tuple[Any, ...]


class RollupWriter:
    """The rollups of one transaction. `close` writes them."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self._connection = connection
        self._sums: dict[DimensionValues, Counter[str]] = {}
        self._has_subtracted = False

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a request that was just settled, given by its columns."""
        self._sums_of(row).update(measures_of(row))

    def subtract(self, row: Mapping[str, Any]) -> None:
        """Subtract a request that was added before and is counted otherwise from now on."""
        self._sums_of(row).subtract(measures_of(row))
        self._has_subtracted = True

    def _sums_of(self, row: Mapping[str, Any]) -> Counter[str]:
        model = row["model"] if row["is_model_known"] else UNKNOWN_MODEL
        others = (row[name] for name in DIMENSIONS[3:])
        dimensions = (row["api_key_id"], begin_of_hour(row["created_at"]), model, *others)
        return self._sums.setdefault(dimensions, Counter())

    def close(self) -> None:
        """Add the sums to the table, in the same order in every process, so that no two transactions deadlock."""
        if not self._sums:
            return
        values: list[Any] = []
        for dimensions in sorted(self._sums):
            values += [self._adapted(value) for value in dimensions]
            values += [self._sums[dimensions][name] for name in MEASURES]
        with self._connection.cursor() as cursor:
            cursor.execute(_upsert(len(self._sums)), values)
        if self._has_subtracted:
            self._delete_empty()
        self._sums.clear()

    def _delete_empty(self) -> None:
        """Delete rollups of no request, which reports would show as a model or an upstream without requests."""
        keys, hours = {dimensions[0] for dimensions in self._sums}, {dimensions[1] for dimensions in self._sums}
        HourlyUsage.objects.filter(api_key_id__in=keys, hour__in=hours, requests=0).delete()

    def _adapted(self, value: Any) -> Any:
        return self._connection.ops.adapt_datetimefield_value(value) if isinstance(value, datetime) else value


def measures_of(row: Mapping[str, Any]) -> dict[str, int]:
    """Return what one settled request adds to each measure. Rejected requests have neither tokens nor a price."""
    was_admitted = row["status"] != Status.REJECTED
    is_without_usage = was_admitted and (row.get("input_tokens") is None or row.get("output_tokens") is None)
    return {
        "requests": 1,
        **{name: row.get(name) or 0 for name in TOKEN_COLUMNS},
        "requests_without_usage": int(is_without_usage),
        **_amount_parts(row),
        "unpriced_requests": int(was_admitted and row.get("cost_usd_picos") is None),
        "client_errors": int(row["status"] == Status.FAILED and row.get("error_type") in CLIENT_ERRORS),
    }


def _amount_parts(row: Mapping[str, Any]) -> dict[str, int]:
    return {
        name: part
        for amount in AMOUNT_COLUMNS
        for name, part in zip(part_names(amount), money.split(row.get(amount) or 0), strict=True)
    }


@cache
def _upsert(count: int) -> str:
    table = HourlyUsage._meta.db_table
    names = [*DIMENSIONS, *MEASURES]
    columns = ", ".join(f'"{name}"' for name in names)
    placeholders = ", ".join("%s" for _ in names)
    rows = ", ".join([f"({placeholders})"] * count)
    conflict = ", ".join(f'"{name}"' for name in DIMENSIONS)
    adding = ", ".join(f'"{name}" = "{table}"."{name}" + excluded."{name}"' for name in MEASURES)
    return f'INSERT INTO "{table}" ({columns}) VALUES {rows} ON CONFLICT ({conflict}) DO UPDATE SET {adding}'
