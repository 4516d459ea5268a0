"""Export of usage records: one row for each request, never a prompt or a response."""

from collections.abc import Iterator, Mapping
from typing import Any

from django.db.models import Q, QuerySet

from keys.exports.subjects import Subjects
from keys.exports.tables import Column, ExportTable, ValueType, amounts, counts, texts
from keys.models import UsageRecord

BATCH_SIZE = 2_000

_SUBJECTS = ("key", "key_name", "team", "owner")
_TEXTS = (
    "model",
    "upstream",
    "upstream_model",
    "served_model",
    "api_format",
    "status",
    "error_type",
    "error_reason",
    "stop_reason",
    "usage_source",
    "session_id",
    "agent_id",
    "client_request_id",
    "message_id",
    "upstream_request_id",
    "service_tier",
    "inference_geo",
)
_COUNTS = (
    "http_status",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "thinking_tokens",
    "web_searches",
    "ttft_ms",
    "duration_ms",
)
_AMOUNTS = {
    "cost_usd": "cost_usd_picos",
    "input_cost_usd": "input_cost_usd_picos",
    "output_cost_usd": "output_cost_usd_picos",
    "cache_read_cost_usd": "cache_read_cost_usd_picos",
    "cache_write_cost_usd": "cache_write_cost_usd_picos",
    "item_cost_usd": "item_cost_usd_picos",
    "vendor_cost_usd": "vendor_cost_usd_picos",
}
_READ = ("created_at", "id", *_TEXTS, *_COUNTS, *_AMOUNTS.values(), "api_key_id", "team_id", "owner_id")
CREATED, ID = 0, 1
_OF_SUBJECTS = slice(-3, None)


def records_table(
    records: QuerySet[UsageRecord], *, query: Mapping[str, str], teams: frozenset[int] | None = None
) -> ExportTable:
    """Return the table of all records, oldest first. They are read in batches, in constant memory.

    `teams` is the scope of the user: `Question.teams`.
    """
    subjects = Subjects(teams=teams)
    columns = [
        Column(name="created_at", type=ValueType.MOMENT),
        *texts("id", *_SUBJECTS),
        *texts(*_TEXTS),
        *counts(*_COUNTS),
        *amounts(*_AMOUNTS),
        *texts(*subjects.metadata_columns),
    ]
    return ExportTable(name="requests", query=query, columns=columns, rows=_rows(records, subjects))


def _rows(records: QuerySet[UsageRecord], subjects: Subjects) -> Iterator[tuple[Any, ...]]:
    for row in _in_batches(records):
        key_id, team_id, owner_id = row[_OF_SUBJECTS]
        names = subjects.names(key_id, team_id, owner_id)
        yield (row[CREATED], row[ID], *names, *row[ID + 1 : -3], *subjects.metadata(key_id))


def _in_batches(records: QuerySet[UsageRecord]) -> Iterator[tuple[Any, ...]]:
    """Yield rows in the order of time, by a query for each batch: none is open while a file is written."""
    rows = records.order_by("created_at", "id").values_list(*_READ)
    batch = list(rows[:BATCH_SIZE])
    while batch:
        yield from batch
        if len(batch) < BATCH_SIZE:
            return
        created, id = batch[-1][CREATED], batch[-1][ID]
        later = Q(created_at__gt=created) | Q(created_at=created, id__gt=id)
        # The first condition is that of the index: neither database takes it from the second.
        batch = list(rows.filter(later, created_at__gte=created)[:BATCH_SIZE])
