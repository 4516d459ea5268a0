"""
The only writer of usage: one call, one row, whatever happens.

`admit` writes the row before the upstream is called; `settle` closes it exactly once afterwards, guarded by the WHERE
of its statement. Both return when the batch that holds their row is committed. A settlement that the database does not
take waits in the spool, or in memory while the disk is full too, and is replayed; an admission that it does not take is
no call. Rows whose worker died are settled as `orphaned` by the next worker's chores: those of a dead process on this
machine by its abandoned spool, those of a lost machine by their lease.
"""

import json
import logging
import os
import secrets
import threading
import time
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, DataError, IntegrityError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Field, Q
from django.db.models.functions import Coalesce
from django.utils import timezone

from keys.errors import LedgerUnavailable
from keys.group_commit import MAX_BATCH, GroupCommit
from keys.models import KeySecret, UsageRecord
from keys.spool import Spool, iter_dead, reject

logger = logging.getLogger(__name__)

TABLE = UsageRecord._meta.db_table
Status = UsageRecord.Status
UsageSource = UsageRecord.UsageSource
SETTLED_WITHIN_S = 10.0  # the writer gives up on its database long before
UNFIT = (DataError, IntegrityError, KeyError, TypeError, ValueError)  # what a row that cannot be written raises
LAST_USE_EVERY = timedelta(minutes=5)  # one write a call would queue all calls of a key on one row lock


@dataclass(frozen=True, kw_only=True, slots=True)
class Admission:
    """What is known of a call before the upstream is asked."""

    id: str
    """The request id."""
    api_key_id: int
    secret_id: int
    lane: str
    model: str
    streamed: bool
    estimated_input_tokens: int | None
    lease_s: float
    """How long the row may stay open before it counts as orphaned."""
    caller_address: str | None = None
    caller_request_id: str = ""
    user_agent: str = ""
    created_at: datetime = field(default_factory=timezone.now)


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
    usage_source: str = UsageSource.NONE
    ttft_ms: int | None = None
    duration_ms: int | None = None


def is_away() -> bool:
    """Whether no row can be written now. Then there is no call, and whoever asks is to be told at once."""
    return _writer.is_away


def admit(admission: Admission) -> None:
    """Write the row of a call and wait for its commit. Raise LedgerUnavailable (503); then there is no call."""
    if is_away():
        raise LedgerUnavailable
    if not _writer.submit(_Admit(admission)).wait_or_give_up(settings.LEDGER_WAIT_S):
        raise LedgerUnavailable


def settle(admission: Admission, settlement: Settlement) -> None:
    """Close the row of a call, exactly once, and wait until that is committed or in the spool."""
    ticket = _writer.submit(_Settle(admission, settlement))
    if not ticket.wait(SETTLED_WITHIN_S):
        logger.warning("%s is settled, but the ledger is slow to commit it", admission.id)


def refuse(admission: Admission, *, http_status: int, error_type: str) -> None:
    """Write the row of a call that was recognised but not let in: no upstream call, no cost. Does not wait."""
    _writer.submit(_Settle(admission, _refusal(http_status, error_type)))


def start() -> None:
    """Start the writer now, so that what dead workers left is settled without waiting for a first call."""
    _writer.start()


def close() -> None:
    """Write what waits and give the spool up. Called when the worker ends; may be called twice."""
    if not _writer.close():
        logger.error("The ledger's writer did not end in time")
    _house.close()


# ---- what the writer's thread writes


class _Admit:
    """The row of a call that begins."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.row = _opening_row(admission)

    def give_up(self, error: Exception, *, is_in_doubt: bool) -> Exception | None:
        if is_in_doubt:
            self.come_too_late()
        return LedgerUnavailable()

    def come_too_late(self) -> None:
        """The caller was refused. If there is a row, it must not stay open."""
        _house.keep(_closed_row(self._admission, _refusal(LedgerUnavailable.status, LedgerUnavailable.type)))


class _Settle:
    """The row of a call that has ended."""

    def __init__(self, admission: Admission, settlement: Settlement) -> None:
        self.row = _closed_row(admission, settlement)

    def give_up(self, error: Exception, *, is_in_doubt: bool) -> Exception | None:
        _house.keep(self.row)
        return None

    def come_too_late(self) -> None: ...


def _write(statements: list[_Admit | _Settle], connection: BaseDatabaseWrapper) -> None:
    _write_rows([statement.row for statement in statements], connection)


def _write_rows(rows: list[dict[str, Any]], connection: BaseDatabaseWrapper) -> None:
    """Write rows, all or none, in one statement: each exchange with the database costs a turn of the interpreter's
    lock, for which a busy worker lets its threads wait. A row that was settled before stays as it is.
    """
    latest = _one_each(rows)
    values = [value for row in latest for value in _values(row, connection)]
    beginning, marks, end = _write_sql()
    with connection.cursor() as cursor:
        cursor.execute(beginning + ", ".join([marks] * len(latest)) + end, values)
    for row in latest:
        if row["status"] not in (Status.STARTED, Status.REFUSED):
            _touch_last_use(row)


def _one_each(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows without repetitions of a call: the first settlement counts, and an opening row only without one."""
    by_id: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["id"] not in by_id or by_id[row["id"]]["status"] == Status.STARTED:
            by_id[row["id"]] = row
    return list(by_id.values())


def _touch_last_use(row: dict[str, Any]) -> None:
    used_at = row["created_at"]
    secret_id = row["secret_id"]
    if _house.last_use_is_due(secret_id, used_at):
        stale = Q(last_used_at=None) | Q(last_used_at__lt=used_at - LAST_USE_EVERY)
        KeySecret.objects.filter(stale, pk=secret_id).update(last_used_at=used_at)


# ---- rows and their SQL


def _opening_row(admission: Admission) -> dict[str, Any]:
    row = {name: getattr(admission, name) for name in _ADMISSION_COLUMNS}
    row["lease_expires_at"] = admission.created_at + timedelta(seconds=admission.lease_s)
    row["boot_id"] = _house.boot_id
    row["status"] = Status.STARTED
    return _sanitised(row)


def _closed_row(admission: Admission, settlement: Settlement) -> dict[str, Any]:
    return _opening_row(admission) | {"settled_at": timezone.now()} | _sanitised(asdict(settlement))


def _refusal(http_status: int, error_type: str) -> Settlement:
    return Settlement(status=Status.REFUSED, http_status=http_status, error_type=error_type)


_ADMISSION_COLUMNS = [item.name for item in fields(Admission) if item.name != "lease_s"]
_CLOSING_COLUMNS = ["settled_at", *(item.name for item in fields(Settlement))]


def _sanitised(row: dict[str, Any]) -> dict[str, Any]:
    """Texts as the columns take them: cut to their length, and without NUL, which PostgreSQL refuses."""
    return {
        name: value.replace("\0", "\N{REPLACEMENT CHARACTER}")[: _column(name).max_length]
        if isinstance(value, str)
        else value
        for name, value in row.items()
    }


@cache
def _column(name: str) -> "Field[Any, Any]":
    found = UsageRecord._meta.get_field(name.removesuffix("_id") if name in ("api_key_id", "secret_id") else name)
    assert isinstance(found, Field)
    return found


@cache
def _write_sql() -> tuple[str, str, str]:
    """An INSERT that closes the row where it stands open: its beginning, the marks of one row, and its end.

    It waits for a transaction that is writing the row, such as one of ours on a connection that we have given up.
    """
    columns = [item.column for item in UsageRecord._meta.concrete_fields]
    names = ", ".join(f'"{column}"' for column in columns)
    closing = ", ".join(f'"{name}" = excluded."{name}"' for name in _CLOSING_COLUMNS)
    return (
        f'INSERT INTO "{TABLE}" ({names}) VALUES ',
        f"({', '.join(['%s'] * len(columns))})",
        f' ON CONFLICT ("id") DO UPDATE SET {closing} WHERE "{TABLE}"."status" = \'{Status.STARTED}\'',
    )


def _values(row: dict[str, Any], connection: BaseDatabaseWrapper) -> list[Any]:
    return [
        item.get_db_prep_save(row.get(item.attname, item.get_default()), connection)
        for item in UsageRecord._meta.concrete_fields
    ]


def _to_json(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}


def _from_json(row: dict[str, Any]) -> dict[str, Any]:
    moments = ("created_at", "settled_at", "lease_expires_at")
    return row | {name: datetime.fromisoformat(row[name]) for name in moments}


# ---- chores: the spool, and what dead workers left


class _House:
    """What the writer keeps for its process: its boot id, its spool, and when it last noted a secret's use."""

    def __init__(self) -> None:
        self._pid = 0
        self._lock = threading.Lock()
        self._last_use: dict[int, datetime] = {}
        self._kept: list[dict[str, Any]] = []
        """Rows on their way to the spool. They stay here while the disk does not take them."""
        self._is_disk_away = False

    @property
    def boot_id(self) -> str:
        self._move_in()
        return self._boot_id

    @property
    def spool(self) -> Spool:
        self._move_in()
        return self._spool

    def _move_in(self) -> None:
        """A new process gets a new boot id and spool: workers fork, and a closed house may be opened again."""
        if self._pid == os.getpid():
            return
        with self._lock:
            if self._pid != os.getpid():
                self._boot_id = f"{time.time_ns() // 1_000_000:x}-{os.getpid()}-{secrets.token_hex(4)}"
                self._spool = Spool(spool_folder(), self._boot_id)
                self._pid = os.getpid()

    def last_use_is_due(self, secret_id: int, used_at: datetime) -> bool:
        """Whether this process has not noted the secret's use for five minutes. Spares an idle UPDATE."""
        noted = self._last_use.get(secret_id)
        if noted is not None and used_at - noted < LAST_USE_EVERY:
            return False
        self._last_use[secret_id] = used_at
        return True

    def keep(self, row: dict[str, Any]) -> None:
        """Take a row that the database does not take. `secure` brings it to the disk."""
        self._kept.append(_to_json(row))

    def secure(self) -> None:
        """Bring what is kept to the spool. What the disk does not take stays in memory: as many rows as calls ran."""
        if not self._kept:
            return
        try:
            self.spool.append(self._kept)
        except OSError as error:
            if not self._is_disk_away:
                logger.critical("Neither database nor disk take the ledger's rows: they wait in memory (%s)", error)
            self._is_disk_away = True
            return
        if self._is_disk_away:
            logger.warning("The disk takes the ledger's rows again: %d left the memory", len(self._kept))
        self._is_disk_away = False
        self._kept.clear()

    def replay(self) -> None:
        """Settle what waits in the spool and in memory, and forget it once it is committed."""
        rows = [*([] if self.spool.is_empty() else self.spool.rows()), *self._kept]
        if not rows:
            return
        _replay(rows)
        logger.warning("%d rows that had waited for the ledger's database are settled", len(rows))
        self.spool.clear()
        self._kept.clear()
        self._is_disk_away = False

    def close(self) -> None:
        if self._pid != os.getpid():
            return
        self.secure()
        for row in self._kept:
            # Its counts stand here and nowhere else. The next worker settles the row as orphaned.
            logger.critical("Neither database nor disk took this row: %s", json.dumps(row))
        self._kept.clear()
        self._spool.close()
        self._pid = 0


def spool_folder() -> Path:
    return Path(settings.STATE_DIR) / "spool"


def _chores() -> None:
    """Bring home what the database missed, and settle the rows whose worker is gone."""
    _house.replay()
    _orphan(Q(lease_expires_at__lt=timezone.now()))
    for dead in iter_dead(spool_folder(), but=_house.spool.path):
        _replay(dead.rows())
        _orphan(Q(boot_id=dead.boot_id))
        dead.remove()


def _replay(rows: list[dict[str, Any]]) -> None:
    """Settle spooled rows. One that the database will never take is kept beside the spool, and said."""
    for start in range(0, len(rows), MAX_BATCH):
        batch = rows[start : start + MAX_BATCH]
        try:
            _replay_at_once(batch)
        except UNFIT:
            for row in batch:
                _replay_alone(row)


def _replay_alone(row: dict[str, Any]) -> None:
    try:
        _replay_at_once([row])
    except UNFIT:
        reject(spool_folder(), json.dumps(row).encode())
        _orphan(Q(id=row.get("id")))


def _replay_at_once(rows: list[dict[str, Any]]) -> None:
    _write_rows([_from_json(row) for row in rows], connections[DEFAULT_DB_ALIAS])


def _orphan(whose: Q) -> None:
    count = UsageRecord.objects.filter(whose, status=Status.STARTED).update(
        status=Status.ORPHANED,
        settled_at=timezone.now(),
        input_tokens=Coalesce("input_tokens", "estimated_input_tokens"),
        usage_source=UsageSource.ESTIMATED,
    )
    if count:
        logger.warning("%d calls are settled as orphaned: nobody could say how they ended", count)


_house = _House()
_writer = GroupCommit(_write, chores=_chores, secure=_house.secure, chore_every_s=settings.ORPHAN_SWEEP_S)
