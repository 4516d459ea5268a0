"""
The ledger: the only writer of usage records, hourly rollups and budget periods. One record per request.

`admit` writes the record before the upstream is contacted; `settle` closes it exactly once, guarded by the WHERE of its
statement. Both return when the batch that holds their row is committed. A settlement that the database cannot take is
spooled, or buffered in memory while the disk is full too, and replayed; a request whose admission cannot be committed
is rejected. Orphaned records, whose worker died, are settled as `interrupted` by the maintenance of another worker:
those of a dead process on this host by its abandoned spool, those of a lost host by their lease.
"""

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, DataError, IntegrityError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Q
from django.utils import timezone

from keys.budgets.reservations import LockedPeriods, Reservation, required_periods
from keys.domain.limits import LimitExceeded
from keys.errors import BudgetExceeded, LedgerUnavailable
from keys.models import KeySecret, UsageRecord
from keys.pricing import price_book
from keys.pricing.price_book import PriceBook, prices
from keys.pricing.rating import cost
from keys.usage import rows
from keys.usage.backlog import LAST_USED_INTERVAL, Backlog, spool_folder
from keys.usage.group_commit import MAX_BATCH, GroupCommit
from keys.usage.hourly_rollup import RollupWriter
from keys.usage.model_names import UnsuccessfulNames
from keys.usage.rows import Admission, Row, Settlement, Status, UsageSource
from keys.usage.spool import iter_dead, quarantine
from lib import database_health

logger = logging.getLogger(__name__)

SETTLE_TIMEOUT_S = 10.0  # the writer abandons an unresponsive database long before
UNSUCCESSFUL = (Status.REJECTED, Status.FAILED)
INVALID_ROW = (DataError, IntegrityError, KeyError, TypeError, ValueError)  # raised by a row that cannot be written


def admit(admission: Admission) -> None:
    """Write the record of a request, reserve its budgets, and wait for the commit.

    Raise BudgetExceeded (402), which leaves a rejected record, or LedgerUnavailable (503).
    """
    if _writer.is_unavailable or not _writer.write(_Admit(admission)):
        raise LedgerUnavailable


def settle(admission: Admission, settlement: Settlement) -> None:
    """Close the record of a request, exactly once, and wait until that is committed or spooled.

    The cost is computed from the price of the model at the upstream that served it, and replaces the reservations.
    """
    rated = _rated(settlement, at=admission.created_at, book=prices.last_known)
    ticket = _writer.submit(_Settle(_closed(admission, rated)))
    if not ticket.wait(SETTLE_TIMEOUT_S):
        logger.warning("%s: settlement is queued, but not committed after %.0f s", admission.id, SETTLE_TIMEOUT_S)


def reject(
    admission: Admission,
    *,
    http_status: int,
    error_type: str,
    limit_exceeded: LimitExceeded | None = None,
    is_model_known: bool = True,
) -> None:
    """Write the record of an authenticated request that is not admitted. Does not wait for the commit."""
    row = _rejected(admission, http_status, error_type, limit_exceeded, is_model_known=is_model_known)
    _writer.submit(_Settle(row))


def is_unavailable() -> bool:
    """Return whether the database is unavailable, so that no request can be admitted."""
    return _writer.is_unavailable


def start() -> None:
    """Start the writer, so that orphaned records are settled before the first request."""
    _backlog.open()  # before the thread exists: it and a greenlet must not wait for the same lock
    _writer.start()


def close() -> None:
    """Write what is queued, and close the spool. Called at shutdown; may be called twice."""
    if not _writer.close():
        logger.error("Ledger: the writer did not stop in time")
    _backlog.close()
    _unsuccessful_names.clear()


def _rated(settlement: Settlement, *, at: datetime, book: PriceBook) -> Settlement:
    """Return the settlement with its cost: None without a price, 0 if no upstream was contacted."""
    if settlement.usage_source == UsageSource.NONE:
        return replace(settlement, cost_usd_micros=0)
    price = book.find(settlement.upstream_model, upstream=settlement.upstream, at=at)
    if price is None:
        return settlement
    return replace(settlement, cost_usd_micros=cost(rows.tokens(rows.closing(settlement)), price), price_id=price.id)


def _closed(admission: Admission, settlement: Settlement) -> Row:
    if settlement.status in UNSUCCESSFUL and settlement.is_model_known:
        is_known = _unsuccessful_names.add(admission.model, key_id=admission.api_key_id, at=admission.created_at)
        settlement = replace(settlement, is_model_known=is_known)
    return rows.closed(admission, settlement, boot_id=_backlog.boot_id)


def _rejected(
    admission: Admission,
    http_status: int,
    error_type: str,
    limit_exceeded: LimitExceeded | None = None,
    *,
    is_model_known: bool = True,
) -> Row:
    """Return the row of a request that is not admitted, with the limit that rejects it."""
    admission = replace(admission, limit_exceeded=limit_exceeded or admission.limit_exceeded)
    settlement = Settlement(
        status=Status.REJECTED, http_status=http_status, error_type=error_type, is_model_known=is_model_known
    )
    return _closed(admission, settlement)


# ---- Statements of the writer's thread.


class _Admit:
    """The record of a new request, and its reservations."""

    def __init__(self, admission: Admission) -> None:
        self.error: Exception | None = None
        self.required_periods = required_periods(admission.reservation_requests, at=admission.created_at)
        self.row = rows.opening(admission, boot_id=_backlog.boot_id)
        self.reservations: list[Reservation] = []
        self._admission = admission

    @property
    def is_plain(self) -> bool:
        """Whether the row is all there is to write."""
        return not self.required_periods

    def apply(self, batch: "_Batch") -> None:
        self.error = None
        try:
            reservations = batch.periods.reserve(self._admission.reservation_requests, at=self._admission.created_at)
        except BudgetExceeded as error:
            self.error = error
            self._admission.reservations[:] = []
            batch.add(_rejected(self._admission, error.status, error.type, error.limit_exceeded))
            return
        self._admission.reservations[:] = reservations
        batch.admitted_here.add(self._admission.id)
        batch.add(self.row | {"reservations": reservations})

    def abandon(self, error: Exception, *, is_in_doubt: bool) -> Exception | None:
        if is_in_doubt:
            self.committed_after_abandon()
        return LedgerUnavailable()

    def committed_after_abandon(self) -> None:
        """Close the record if there is one: the client got a 503."""
        _backlog.add(_rejected(self._admission, LedgerUnavailable.status, LedgerUnavailable.type))


class _Settle:
    """The record of a finished request."""

    required_periods: Sequence[tuple[int, datetime]] = ()
    is_plain = False
    error: Exception | None = None

    def __init__(self, row: Row) -> None:
        self.row = row

    @property
    def reservations(self) -> list[Reservation]:
        reservations: list[Reservation] = self.row["reservations"]
        return reservations

    def apply(self, batch: "_Batch") -> None:
        batch.add(self.row)

    def abandon(self, error: Exception, *, is_in_doubt: bool) -> Exception | None:
        _backlog.add(self.row)
        return None

    def committed_after_abandon(self) -> None: ...


class _Batch:
    """What one transaction writes: records, and what they change in budget periods and hourly rollups."""

    def __init__(self, statements: Sequence[_Admit | _Settle], connection: BaseDatabaseWrapper) -> None:
        self.periods = LockedPeriods(
            required=[each for statement in statements for each in statement.required_periods],
            reserved_ids=[period_id for statement in statements for period_id, _ in statement.reservations],
        )
        self.admitted_here: set[str] = set()
        """IDs of the requests that this transaction admits."""
        self._connection = connection
        self._rows: dict[str, Row] = {}

    def add(self, row: Row) -> None:
        """Add a row. The first settlement of a request counts, and an opening row only without one."""
        before = self._rows.get(row["id"])
        if before is None or before["status"] == Status.STARTED:
            self._rows[row["id"]] = row

    def close(self) -> None:
        """Write everything, in the same order in every process, so that no two transactions deadlock."""
        rollups, last_uses = RollupWriter(self._connection), {}
        written = rows.write(list(self._rows.values()), self._connection)
        for id, was_open in written.items():
            row = self._rows[id]
            if row["status"] == Status.STARTED:
                continue
            reservations = (
                row["reservations"]
                if was_open or id in self.admitted_here
                else [[period_id, 0] for period_id, _ in row["reservations"]]
            )
            self.periods.settle(reservations, micros=row["cost_usd_micros"] or 0, tokens=rows.tokens(row).total)
            rollups.add(row)
            if row["status"] != Status.REJECTED:
                last_uses[row["secret_id"]] = row["created_at"]
        self.periods.close()
        rollups.close()
        for secret_id in sorted(last_uses):
            _touch_last_used(secret_id, last_uses[secret_id])


def _write(statements: Sequence[_Admit | _Settle], connection: BaseDatabaseWrapper) -> None:
    """Write the statements of a batch, all or none."""
    if all(statement.is_plain for statement in statements):
        rows.write(list({statement.row["id"]: statement.row for statement in statements}.values()), connection)
        return
    with transaction.atomic():
        batch = _Batch(statements, connection)
        for statement in statements:
            statement.apply(batch)
        batch.close()


def _settle_rows(batch: Iterable[Row]) -> None:
    """Settle requests by their rows, all or none."""
    _write([_Settle(row) for row in batch], connections[DEFAULT_DB_ALIAS])


def _touch_last_used(secret_id: int, used_at: datetime) -> None:
    if _backlog.should_write_last_used(secret_id, used_at):
        stale = Q(last_used_at=None) | Q(last_used_at__lt=used_at - LAST_USED_INTERVAL)
        KeySecret.objects.filter(stale, pk=secret_id).update(last_used_at=used_at)


# ---- Maintenance: spooled rows and orphaned records.


def _maintain() -> None:
    """Replay spooled rows, and settle the orphaned records of dead workers."""
    if pending := _backlog.pending():
        _replay(pending)
        logger.warning("Ledger: %d spooled rows replayed", len(pending))
        _backlog.clear()
    _settle_orphans(Q(lease_expires_at__lt=timezone.now()))
    for dead in iter_dead(spool_folder(), except_for=_backlog.spool.path):
        _replay(dead.rows())
        _settle_orphans(Q(boot_id=dead.boot_id))
        dead.remove()


def _replay(spooled: list[Row]) -> None:
    """Settle spooled rows. A row that the database can never take is quarantined and logged."""
    for start in range(0, len(spooled), MAX_BATCH):
        batch = spooled[start : start + MAX_BATCH]
        try:
            _settle_rows(map(rows.from_json, batch))
        except INVALID_ROW:
            for row in batch:
                _replay_one(row)


def _replay_one(row: Row) -> None:
    try:
        _settle_rows([rows.from_json(row)])
    except INVALID_ROW:
        quarantine(spool_folder(), json.dumps(row).encode())
        _settle_orphans(Q(id=row.get("id")))


def _settle_orphans(condition: Q) -> None:
    """Settle orphaned records as interrupted, from the estimate of their input."""
    count = 0
    open_records = UsageRecord.objects.filter(condition, status=Status.STARTED)
    while batch := list(open_records[:MAX_BATCH]):
        book = price_book.load()  # the cache of the process is not for the writer's thread, and may be empty so far
        _settle_rows(
            rows.interrupted(record, _rated(rows.interruption(record), at=record.created_at, book=book))
            for record in batch
        )
        count += len(batch)
    if count:
        logger.warning("Ledger: %d orphaned requests settled as interrupted", count)


_unsuccessful_names = UnsuccessfulNames()
_backlog = Backlog()
_writer = GroupCommit(
    _write, maintain=_maintain, flush=_backlog.flush_to_spool, maintenance_interval_s=settings.ORPHAN_SWEEP_S
)
database_health.add_check(is_unavailable)
