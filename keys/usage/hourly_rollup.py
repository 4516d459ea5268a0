"""The hours that settled calls add up to, written in the calls' own transactions, so that the sums always agree."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from keys.models import HourlyUsage
from keys.models.usage import CLIENT_ERRORS
from lib.periods import begin_of_hour

DIMENSIONS = ("api_key_id", "hour", "model", "upstream", "status", "usage_source")
SUMS = (
    "requests",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "thinking_tokens",
    "requests_without_usage",
    "cost_usd_micros",
    "unpriced_requests",
    "client_errors",
)

Place = tuple[Any, ...]


class RollupWriter:
    """What one transaction adds to the hours; written by `close`."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self._connection = connection
        self._sums: dict[Place, Counter[str]] = {}

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a call that has just been settled, given by its columns."""
        place = (row["api_key_id"], begin_of_hour(row["created_at"]), *(row[name] for name in DIMENSIONS[2:]))
        self._sums.setdefault(place, Counter()).update(sums_of(row))

    def close(self) -> None:
        """Add it to what stands there, in one order for all processes, so that none waits for another in a circle."""
        if not self._sums:
            return
        values: list[Any] = []
        for place in sorted(self._sums):
            values += [self._adapted(value) for value in place]
            values += [self._sums[place][name] for name in SUMS]
        with self._connection.cursor() as cursor:
            cursor.execute(_upsert(len(self._sums)), values)
        self._sums.clear()

    def _adapted(self, value: Any) -> Any:
        return self._connection.ops.adapt_datetimefield_value(value) if isinstance(value, datetime) else value


def sums_of(row: Mapping[str, Any]) -> dict[str, int]:
    """What one settled call adds to each sum. Refused calls have neither tokens nor a price."""
    tokens = {name: row.get(name) or 0 for name in SUMS if name.endswith("_tokens")}
    was_made = row["status"] != "rejected"
    is_unknown = was_made and (row.get("input_tokens") is None or row.get("output_tokens") is None)
    cost = row.get("cost_usd_micros")
    return {
        "requests": 1,
        **tokens,
        "requests_without_usage": int(is_unknown),
        "cost_usd_micros": cost or 0,
        "unpriced_requests": int(was_made and cost is None),
        "client_errors": int(row["status"] == "failed" and row.get("error_type") in CLIENT_ERRORS),
    }


@cache
def _upsert(count: int) -> str:
    table = HourlyUsage._meta.db_table
    names = [*DIMENSIONS, *SUMS]
    columns = ", ".join(f'"{name}"' for name in names)
    marks = ", ".join("%s" for _ in names)
    places = ", ".join([f"({marks})"] * count)
    conflict = ", ".join(f'"{name}"' for name in DIMENSIONS)
    adding = ", ".join(f'"{name}" = "{table}"."{name}" + excluded."{name}"' for name in SUMS)
    return f'INSERT INTO "{table}" ({columns}) VALUES {places} ON CONFLICT ({conflict}) DO UPDATE SET {adding}'
