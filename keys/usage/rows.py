"""What the ledger is told of a call, and the row that it becomes: a dict by column, and its SQL."""

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
from keys.pricing.rating import Tokens

Status = UsageRecord.Status
UsageSource = UsageRecord.UsageSource
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Admission:
    """What is known of a call before the upstream is asked."""

    id: str
    """The request id."""
    api_key_id: int
    secret_id: int
    api_format: str
    model: str
    streamed: bool
    estimated_input_tokens: int | None
    lease_s: float
    """How long the row may stay open before it counts as orphaned."""
    upstream: str = ""
    upstream_model: str = ""
    """What is to be asked first. It is what is known of the call if nobody can say how it ended."""
    client_ip: str | None = None
    client_request_id: str = ""
    user_agent: str = ""
    limit_exceeded: LimitExceeded | None = None
    """The limit that rejected it, or that would have outside shadow mode."""
    created_at: datetime = field(default_factory=timezone.now)
    claims: Sequence[ReservationRequest] = ()
    """What the call is to hold of each budget. If one has not as much left, the call is refused."""
    reservations: list[Reservation] = field(default_factory=list, compare=False)
    """What it does hold, once it is admitted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settlement:
    """How a call ended. Tokens are None where nobody said."""

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
    ttft_ms: int | None = None
    duration_ms: int | None = None

    @property
    def tokens(self) -> int:
        """All that the call used; what nobody said is 0."""
        written = (self.cache_write_5m_tokens, self.cache_write_1h_tokens)
        return sum(count or 0 for count in (self.input_tokens, self.cache_read_tokens, *written, self.output_tokens))


MOMENTS = ("created_at", "settled_at", "lease_expires_at")
CONVERTED = (models.DateTimeField, models.JSONField, models.GenericIPAddressField)
_COLUMNS = {item.attname: item for item in UsageRecord._meta.concrete_fields}
_OPENING = [item.name for item in fields(Admission) if item.name not in ("lease_s", "claims", "reservations")]
_CLOSING = [item.name for item in fields(Settlement)]
_TABLE = UsageRecord._meta.db_table


def opening(admission: Admission, *, boot_id: str) -> Row:
    """The columns that are known when a call is admitted."""
    row = {name: getattr(admission, name) for name in _OPENING}
    row["lease_expires_at"] = admission.created_at + timedelta(seconds=admission.lease_s)
    row["limit_exceeded"] = admission.limit_exceeded.to_json() if admission.limit_exceeded else None
    row["boot_id"] = boot_id
    row["status"] = Status.STARTED
    return _sanitised(row)


def closing(settlement: Settlement) -> Row:
    """The columns that are known when it is settled."""
    return _sanitised({name: getattr(settlement, name) for name in _CLOSING})


def closed(admission: Admission, settlement: Settlement, *, boot_id: str) -> Row:
    """All columns of a call that has ended."""
    opened = opening(admission, boot_id=boot_id)
    return opened | {"settled_at": timezone.now(), "reservations": admission.reservations} | closing(settlement)


def last_known(record: UsageRecord) -> Settlement:
    """How a call ended whose worker died: what is known is the estimate of its input, and whom it was to ask."""
    known = record.estimated_input_tokens if record.input_tokens is None else record.input_tokens
    return Settlement(
        status=Status.INTERRUPTED,
        upstream=record.upstream,
        upstream_model=record.upstream_model,
        input_tokens=known,
        usage_source=UsageSource.ESTIMATED,
    )


def orphaned(record: UsageRecord, ending: Settlement) -> Row:
    """All columns of a call that ended so."""
    row = {name: getattr(record, name) for name in _COLUMNS}
    return row | {"settled_at": timezone.now()} | closing(ending)


def tokens(row: Mapping[str, Any]) -> Tokens:
    """The tokens of a row, as far as anybody said."""
    return Tokens(
        input=row["input_tokens"] or 0,
        output=row["output_tokens"] or 0,
        cache_read=row["cache_read_tokens"] or 0,
        cache_write_5m=row["cache_write_5m_tokens"] or 0,
        cache_write_1h=row["cache_write_1h_tokens"] or 0,
    )


def _sanitised(row: Row) -> Row:
    """Texts as the columns take them: cut to their length, and without NUL, which PostgreSQL refuses."""
    return {
        name: value.replace("\0", "\N{REPLACEMENT CHARACTER}")[: _COLUMNS[name].max_length]
        if isinstance(value, str)
        else value
        for name, value in row.items()
    }


def write(batch: Sequence[Row], connection: BaseDatabaseWrapper) -> dict[str, bool]:
    """Write rows, all or none, in one statement, and close those that stand open. One row a call.

    Return, for each row that was new or open, whether it was open: a row that stands closed stays as it is. A
    transaction that is just writing a row is waited for, such as one of ours on a connection that we have given up.

    One statement, since each exchange with the database costs a turn of the interpreter's lock, for which a busy worker
    lets its threads wait.
    """
    columns = _columns(connection.vendor)
    values = [convert(row.get(name, default)) for row in batch for name, default, convert in columns]
    # SQLite has one writer, so what was open is asked before. PostgreSQL tells: a row that was updated has an xmax.
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
        marks = ", ".join(["%s"] * len(ids))
        cursor.execute(f'SELECT "id" FROM "{_TABLE}" WHERE "status" = %s AND "id" IN ({marks})', [Status.STARTED, *ids])
        return {id for (id,) in cursor.fetchall()}


def to_json(row: Row) -> Row:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}


def from_json(row: Row) -> Row:
    """The reverse of `to_json`. A row that an older version spooled lacks the newer columns."""
    newer: Row = {"reservations": [], "cost_usd_micros": None, "price_id": None, "limit_exceeded": None}
    return newer | row | {name: datetime.fromisoformat(row[name]) for name in MOMENTS}


# ---- SQL by hand: Django's own conversion of every column of every row takes five times as long as the database


@cache
def _write_sql(count: int, vendor: str) -> str:
    names = ", ".join(f'"{name}"' for name in _COLUMNS)
    marks = ", ".join("%s" for _ in _COLUMNS)
    places = ", ".join([f"({marks})"] * count)
    closing = ", ".join(f'"{name}" = excluded."{name}"' for name in ["settled_at", *_CLOSING])
    is_new = "" if vendor == "sqlite" else ", (xmax = 0)"
    return (
        f'INSERT INTO "{_TABLE}" ({names}) VALUES {places} ON CONFLICT ("id") DO UPDATE SET {closing} '
        f'WHERE "{_TABLE}"."status" = \'{Status.STARTED}\' RETURNING "id"{is_new}'
    )


Convert = Callable[[Any], Any]


@cache
def _columns(vendor: str) -> Sequence[tuple[str, Any, Convert]]:
    return [(name, item.get_default(), _conversion(item)) for name, item in _COLUMNS.items()]


def _conversion(column: "models.Field[Any, Any]") -> Convert:
    """How a value becomes what the driver takes. Most are that already."""
    if not isinstance(column, CONVERTED):
        return _as_it_is
    return lambda value: column.get_db_prep_save(value, connections[DEFAULT_DB_ALIAS])


def _as_it_is(value: Any) -> Any:
    return value
