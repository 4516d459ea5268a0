"""Usage records as rows: what the ledger knows of a request, as columns, and the SQL that writes them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone

from keys.budgets.reservations import Reservation, ReservationRequest
from keys.domain.limits import LimitExceeded
from keys.models import UsageRecord
from keys.models.usage import BILLED_TOKEN_COLUMNS
from keys.pricing.rating import Tokens

Status = UsageRecord.Status
UsageSource = UsageRecord.UsageSource
Row = dict[str, Any]
"""A usage record by column."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Admission:
    """What is known of a request before the upstream is contacted."""

    id: str
    """The request ID."""
    api_key_id: int
    secret_id: int
    api_format: str
    model: str
    streamed: bool
    estimated_input_tokens: int | None
    lease_s: float
    """How long the record may stay open before it is orphaned."""
    upstream: str = ""
    upstream_model: str = ""
    """The first target. An interrupted request is priced with it."""
    client_ip: str | None = None
    client_request_id: str = ""
    user_agent: str = ""
    limit_exceeded: LimitExceeded | None = None
    """The limit that rejects the request, or would outside shadow mode."""
    created_at: datetime = field(default_factory=timezone.now)
    reservation_requests: Sequence[ReservationRequest] = ()
    """What the request must reserve of each budget. It is rejected if one lacks the amount."""
    reservations: list[Reservation] = field(default_factory=list, compare=False)
    """What it has reserved, once it is admitted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settlement:
    """The outcome of a request. Token counts are None where they are unknown."""

    status: str
    http_status: int | None = None
    error_type: str = ""
    stop_reason: str = ""
    upstream: str = ""
    upstream_model: str = ""
    upstream_request_id: str = ""
    message_id: str = ""
    attempts: list[dict[str, Any]] = field(default_factory=list)
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_5m_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    thinking_tokens: int | None = None
    cost_usd_micros: int | None = None
    """None: the model has no price."""
    price_id: int | None = None
    usage_source: str = UsageSource.NONE
    is_model_known: bool = True
    """Whether the hourly rollups have the model's name."""
    ttft_ms: int | None = None
    duration_ms: int | None = None

    @property
    def tokens(self) -> int:
        """All tokens that the request used. Unknown counts are 0."""
        return sum(getattr(self, name) or 0 for name in BILLED_TOKEN_COLUMNS)


TIMESTAMPS = ("created_at", "settled_at", "lease_expires_at")
CONVERTED = (models.DateTimeField, models.JSONField, models.GenericIPAddressField)
_COLUMNS = {item.attname: item for item in UsageRecord._meta.concrete_fields}
_NOT_COLUMNS = ("lease_s", "reservation_requests", "reservations")
_OPENING = [item.name for item in fields(Admission) if item.name not in _NOT_COLUMNS]
_CLOSING = [item.name for item in fields(Settlement)]
_BILLED = [(item.name, f"{item.name}_tokens") for item in fields(Tokens)]
_TABLE = UsageRecord._meta.db_table


def opening(admission: Admission, *, boot_id: str) -> Row:
    """Return the columns that are known at admission."""
    row = {name: getattr(admission, name) for name in _OPENING}
    row["lease_expires_at"] = admission.created_at + timedelta(seconds=admission.lease_s)
    row["limit_exceeded"] = admission.limit_exceeded.to_json() if admission.limit_exceeded else None
    row["boot_id"] = boot_id
    row["status"] = Status.STARTED
    return _sanitized(row)


def closing(settlement: Settlement) -> Row:
    """Return the columns that are known at settlement."""
    return _sanitized({name: getattr(settlement, name) for name in _CLOSING})


def closed(admission: Admission, settlement: Settlement, *, boot_id: str) -> Row:
    """Return all columns of a settled request."""
    opened = opening(admission, boot_id=boot_id)
    return opened | {"settled_at": timezone.now(), "reservations": admission.reservations} | closing(settlement)


def interruption(record: UsageRecord) -> Settlement:
    """Return the outcome of an orphaned record: the estimate of its input, at its first target."""
    known = record.estimated_input_tokens if record.input_tokens is None else record.input_tokens
    return Settlement(
        status=Status.INTERRUPTED,
        upstream=record.upstream,
        upstream_model=record.upstream_model,
        input_tokens=known,
        usage_source=UsageSource.ESTIMATED,
    )


def interrupted(record: UsageRecord, settlement: Settlement) -> Row:
    """Return all columns of an orphaned record that is settled."""
    row = {name: getattr(record, name) for name in _COLUMNS}
    return row | {"settled_at": timezone.now()} | closing(settlement)


def tokens(row: Mapping[str, Any]) -> Tokens:
    """Return the billed tokens of a row. Unknown counts are 0."""
    return Tokens(**{kind: row[column] or 0 for kind, column in _BILLED})


def _sanitized(row: Row) -> Row:
    """Cut texts to the length of their columns, and replace NUL, which PostgreSQL rejects."""
    return {
        name: value.replace("\0", "\N{REPLACEMENT CHARACTER}")[: _COLUMNS[name].max_length]
        if isinstance(value, str)
        else value
        for name, value in row.items()
    }


def write(batch: Sequence[Row], connection: BaseDatabaseWrapper) -> dict[str, bool]:
    """Write rows, all or none, in one statement, and close those that are open. One row per request.

    Return, for each row that was new or open, whether it was open. A settled row is not changed. A concurrent
    transaction that writes the same row is waited for, such as one of ours on an abandoned connection.

    One statement, since each round trip to the database costs a turn of the interpreter's lock, for which the threads
    of a busy worker wait.
    """
    columns = _columns(connection.vendor)
    values = [convert(row.get(name, default)) for row in batch for name, default, convert in columns]
    # SQLite has one writer, so open rows are read before. PostgreSQL returns it: an updated row has an xmax.
    were_open = _open_ids(batch, connection) if connection.vendor == "sqlite" else None
    with connection.cursor() as cursor:
        cursor.execute(_write_sql(len(batch), connection.vendor), values)
        written = cursor.fetchall()
    if were_open is None:
        return {id: not is_new for id, is_new in written}
    return {id: id in were_open for (id,) in written}


def _open_ids(batch: Sequence[Row], connection: BaseDatabaseWrapper) -> set[str]:
    ids = [row["id"] for row in batch if row["status"] != Status.STARTED]
    if not ids:
        return set()
    with connection.cursor() as cursor:
        placeholders = ", ".join(["%s"] * len(ids))
        cursor.execute(
            f'SELECT "id" FROM "{_TABLE}" WHERE "status" = %s AND "id" IN ({placeholders})', [Status.STARTED, *ids]
        )
        return {id for (id,) in cursor.fetchall()}


def to_json(row: Row) -> Row:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}


def from_json(row: Row) -> Row:
    """Reverse `to_json`. A row that an older version spooled lacks the newer columns."""
    newer: Row = {
        "reservations": [],
        "cost_usd_micros": None,
        "price_id": None,
        "limit_exceeded": None,
        "is_model_known": True,
    }
    return newer | row | {name: datetime.fromisoformat(row[name]) for name in TIMESTAMPS}


# ---- SQL by hand: Django's conversion of every column of every row takes five times as long as the database.


@cache
def _write_sql(count: int, vendor: str) -> str:
    names = ", ".join(f'"{name}"' for name in _COLUMNS)
    placeholders = ", ".join("%s" for _ in _COLUMNS)
    rows = ", ".join([f"({placeholders})"] * count)
    closing = ", ".join(f'"{name}" = excluded."{name}"' for name in ["settled_at", *_CLOSING])
    is_new = "" if vendor == "sqlite" else ", (xmax = 0)"
    return (
        f'INSERT INTO "{_TABLE}" ({names}) VALUES {rows} ON CONFLICT ("id") DO UPDATE SET {closing} '
        f'WHERE "{_TABLE}"."status" = \'{Status.STARTED}\' RETURNING "id"{is_new}'
    )


Convert = Callable[[Any], Any]


@cache
def _columns(vendor: str) -> Sequence[tuple[str, Any, Convert]]:
    return [(name, item.get_default(), _conversion(item)) for name, item in _COLUMNS.items()]


def _conversion(column: "models.Field[Any, Any]") -> Convert:
    """Return the function that converts a value for the database driver."""
    if not isinstance(column, CONVERTED):
        return _unchanged
    return lambda value: column.get_db_prep_save(value, connections[DEFAULT_DB_ALIAS])


def _unchanged(value: Any) -> Any:
    return value
