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
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, DataError, IntegrityError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Q
from django.utils import timezone

from keys.budgets import reservations
from keys.budgets.reservations import LockedPeriods, Reservation
from keys.domain.limits import LimitExceeded
from keys.errors import BudgetExceeded, LedgerUnavailable
from keys.models import KeySecret, UsageRecord
from keys.pricing import price_book
from keys.pricing.price_book import PriceBook, prices
from keys.pricing.rating import cost
from keys.usage import rows
from keys.usage.backlog import LAST_USE_EVERY, Backlog, spool_folder
from keys.usage.group_commit import MAX_BATCH, GroupCommit
from keys.usage.hourly_rollup import RollupWriter
from keys.usage.rows import Admission, Row, Settlement, Status, UsageSource
from keys.usage.spool import iter_dead, quarantine
from lib import database_health

logger = logging.getLogger(__name__)

SETTLED_WITHIN_S = 10.0  # the writer gives up on its database long before
UNFIT = (DataError, IntegrityError, KeyError, TypeError, ValueError)  # what a row that cannot be written raises


def admit(admission: Admission) -> None:
    """Write the row of a call, hold its budgets, and wait for the commit.

    Raise BudgetSpent (402), which leaves a refused row, or LedgerUnavailable (503); then there is no call.
    """
    if _writer.is_unavailable or not _writer.write(_Admit(admission)):
        raise LedgerUnavailable


def settle(admission: Admission, settlement: Settlement) -> None:
    """Close the row of a call, exactly once, and wait until that is committed or in the spool.

    It is rated with the price that its model has at the upstream that served it; what it held of budgets is spent.
    """
    rated = _rated(settlement, at=admission.created_at, book=prices.last_known)
    ticket = _writer.submit(_Settle(_closed(admission, rated)))
    if not ticket.wait(SETTLED_WITHIN_S):
        logger.warning("%s is settled, but the ledger is slow to commit it", admission.id)


def reject(
    admission: Admission, *, http_status: int, error_type: str, limit_exceeded: LimitExceeded | None = None
) -> None:
    """Write the usage record of an authenticated request that is not admitted. Does not wait for the commit."""
    _writer.submit(_Settle(_rejected(admission, http_status, error_type, limit_exceeded)))


def start() -> None:
    """Start the writer now, so that what dead workers left is settled without waiting for a first call."""
    _house.open()  # before the thread exists: it and a greenlet must not wait for the same lock
    _writer.start()


def close() -> None:
    """Write what waits and give the spool up. Called when the worker ends; may be called twice."""
    if not _writer.close():
        logger.error("The ledger's writer did not end in time")
    _house.close()


def _rated(settlement: Settlement, *, at: datetime, book: PriceBook) -> Settlement:
    """With the cost of what is known of its tokens: None where there is no price, 0 where nothing was asked."""
    if settlement.usage_source == UsageSource.NONE:
        return replace(settlement, cost_usd_micros=0)
    price = book.find(settlement.upstream_model, upstream=settlement.upstream, at=at)
    if price is None:
        return settlement
    return replace(settlement, cost_usd_micros=cost(rows.tokens(rows.closing(settlement)), price), price_id=price.id)


def _closed(admission: Admission, settlement: Settlement) -> Row:
    return rows.closed(admission, settlement, boot_id=_house.boot_id)


def _rejected(
    admission: Admission, http_status: int, error_type: str, limit_exceeded: LimitExceeded | None = None
) -> Row:
    """Return the row of a request that is not admitted, with the limit that rejects it."""
    admission = replace(admission, limit_exceeded=limit_exceeded or admission.limit_exceeded)
    return _closed(admission, Settlement(status=Status.REJECTED, http_status=http_status, error_type=error_type))


# ---- what the writer's thread writes


class _Admit:
    """The row of a call that begins, and what the call is to hold of budgets."""

    def __init__(self, admission: Admission) -> None:
        self.verdict: Exception | None = None
        self.claimed = reservations.wanted(admission.claims, at=admission.created_at)
        self.row = rows.opening(admission, boot_id=_house.boot_id)
        self.reservations: list[Reservation] = []
        self._admission = admission

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing to write but its row."""
        return not self.claimed

    def enter(self, books: "_Batch") -> None:
        self.verdict = None
        try:
            reservations = books.periods.reserve(self._admission.claims, at=self._admission.created_at)
        except BudgetExceeded as error:
            self.verdict = error
            self._admission.reservations[:] = []
            books.add(_rejected(self._admission, error.status, error.type, error.limit_exceeded))
            return
        self._admission.reservations[:] = reservations
        books.held_here.add(self._admission.id)
        books.add(self.row | {"reservations": reservations})

    def give_up(self, error: Exception, *, is_in_doubt: bool) -> Exception | None:
        if is_in_doubt:
            self.come_too_late()
        return LedgerUnavailable()

    def come_too_late(self) -> None:
        """The caller was refused. If there is a row, it must not stay open."""
        _house.keep(_rejected(self._admission, LedgerUnavailable.status, LedgerUnavailable.type))


class _Settle:
    """The row of a call that has ended."""

    claimed: Sequence[tuple[int, datetime]] = ()
    is_plain = False
    verdict: Exception | None = None

    def __init__(self, row: Row) -> None:
        self.row = row

    @property
    def reservations(self) -> list[Reservation]:
        held: list[Reservation] = self.row["reservations"]
        return held

    def enter(self, books: "_Batch") -> None:
        books.add(self.row)

    def give_up(self, error: Exception, *, is_in_doubt: bool) -> Exception | None:
        _house.keep(self.row)
        return None

    def come_too_late(self) -> None: ...


class _Batch:
    """What one transaction writes together: rows, what they change in budgets, and the hours that they add to."""

    def __init__(self, statements: Sequence[_Admit | _Settle], connection: BaseDatabaseWrapper) -> None:
        self.periods = LockedPeriods(
            claimed=[each for statement in statements for each in statement.claimed],
            held=[period_id for statement in statements for period_id, _ in statement.reservations],
        )
        self.held_here: set[str] = set()
        """The calls that were admitted in this very transaction."""
        self._connection = connection
        self._rows: dict[str, Row] = {}

    def add(self, row: Row) -> None:
        """Write a row. Of one call the first settlement counts, and an opening row only without one."""
        before = self._rows.get(row["id"])
        if before is None or before["status"] == Status.STARTED:
            self._rows[row["id"]] = row

    def close(self) -> None:
        """Write, in one order here and in every other process: nobody waits in a circle."""
        hours, last_uses = RollupWriter(self._connection), {}
        written = rows.write(list(self._rows.values()), self._connection)
        for id, was_open in written.items():
            row = self._rows[id]
            if row["status"] == Status.STARTED:
                continue
            held = (
                row["reservations"]
                if was_open or id in self.held_here
                else [[period, 0] for period, _ in row["reservations"]]
            )
            self.periods.settle(held, money=row["cost_usd_micros"] or 0, tokens=rows.tokens(row).total)
            hours.add(row)
            if row["status"] != Status.REJECTED:
                last_uses[row["secret_id"]] = row["created_at"]
        self.periods.close()
        hours.close()
        for secret_id in sorted(last_uses):
            _touch_last_use(secret_id, last_uses[secret_id])


def _write(statements: Sequence[_Admit | _Settle], connection: BaseDatabaseWrapper) -> None:
    """Write the statements of a batch, all or none."""
    if all(statement.is_plain for statement in statements):
        rows.write(list({statement.row["id"]: statement.row for statement in statements}.values()), connection)
        return
    with transaction.atomic():
        books = _Batch(statements, connection)
        for statement in statements:
            statement.enter(books)
        books.close()


def _settle_rows(batch: Iterable[Row]) -> None:
    """Settle calls by their rows, all or none."""
    _write([_Settle(row) for row in batch], connections[DEFAULT_DB_ALIAS])


def _touch_last_use(secret_id: int, used_at: datetime) -> None:
    if _house.last_use_is_due(secret_id, used_at):
        stale = Q(last_used_at=None) | Q(last_used_at__lt=used_at - LAST_USE_EVERY)
        KeySecret.objects.filter(stale, pk=secret_id).update(last_used_at=used_at)


# ---- chores: what waited, and what dead workers left


def _chores() -> None:
    """Bring home what the database missed, and settle the rows whose worker is gone."""
    if waiting := _house.waiting():
        _replay(waiting)
        logger.warning("%d rows that had waited for the ledger's database are settled", len(waiting))
        _house.forget()
    _orphan(Q(lease_expires_at__lt=timezone.now()))
    for dead in iter_dead(spool_folder(), but=_house.spool.path):
        _replay(dead.rows())
        _orphan(Q(boot_id=dead.boot_id))
        dead.remove()


def _replay(spooled: list[Row]) -> None:
    """Settle spooled rows. One that the database will never take is kept beside the spool, and said."""
    for start in range(0, len(spooled), MAX_BATCH):
        batch = spooled[start : start + MAX_BATCH]
        try:
            _settle_rows(map(rows.from_json, batch))
        except UNFIT:
            for row in batch:
                _replay_alone(row)


def _replay_alone(row: Row) -> None:
    try:
        _settle_rows([rows.from_json(row)])
    except UNFIT:
        quarantine(spool_folder(), json.dumps(row).encode())
        _orphan(Q(id=row.get("id")))


def _orphan(whose: Q) -> None:
    """Settle the rows of dead workers by what is known of them: the estimate of their input."""
    count = 0
    open_rows = UsageRecord.objects.filter(whose, status=Status.STARTED)
    while batch := list(open_rows[:MAX_BATCH]):
        book = price_book.load()  # that of the process is not for the writer's thread to read, and may be unread so far
        _settle_rows(
            rows.orphaned(record, _rated(rows.last_known(record), at=record.created_at, book=book)) for record in batch
        )
        count += len(batch)
    if count:
        logger.warning("%d calls are settled as orphaned: nobody could say how they ended", count)


_house = Backlog()
_writer = GroupCommit(_write, chores=_chores, secure=_house.secure, chore_every_s=settings.ORPHAN_SWEEP_S)
database_health.add_check(lambda: _writer.is_unavailable)
