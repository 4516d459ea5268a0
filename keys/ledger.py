"""
The only writer of usage: one call, one row, whatever happens.

`admit` writes the row before the upstream is called; `settle` closes it exactly once afterwards, guarded by the WHERE
of its UPDATE. Both return when the batch that holds their statement is committed. A settlement that the database does
not take waits in the spool, or in memory while the disk is full too, and is replayed; an admission that it does not
take is no call. Rows whose worker died are settled as `orphaned` by the next worker's chores: those of a dead process
on this machine by its abandoned spool, those of a lost machine by their lease.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, DataError, IntegrityError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Q
from django.utils import timezone

from keys import budgets, rows
from keys.budgets import Hold, OpenPeriods
from keys.errors import BudgetSpent, LedgerUnavailable
from keys.group_commit import MAX_BATCH, GroupCommit
from keys.hours import OpenHours
from keys.house import LAST_USE_EVERY, House, spool_folder
from keys.models import KeySecret, UsageRecord
from keys.prices import prices
from keys.pricing import cost
from keys.rows import Admission, Row, Settlement, Status, UsageSource
from keys.spool import iter_dead, reject

logger = logging.getLogger(__name__)

SETTLED_WITHIN_S = 10.0  # the writer gives up on its database long before
UNFIT = (DataError, IntegrityError, KeyError, TypeError, ValueError)  # what a row that cannot be written raises


def is_away() -> bool:
    """Whether no row can be written now. Then there is no call, and whoever asks is to be told at once."""
    return _writer.is_away


def admit(admission: Admission) -> None:
    """Write the row of a call, hold its budgets, and wait for the commit.

    Raise BudgetSpent (402), which leaves a refused row, or LedgerUnavailable (503); then there is no call.
    """
    if is_away() or not _writer.write(_Admit(admission)):
        raise LedgerUnavailable


def settle(admission: Admission, settlement: Settlement) -> None:
    """Close the row of a call, exactly once, and wait until that is committed or in the spool.

    It is rated with the price that its model has at the upstream that served it; what it held of budgets is spent.
    """
    ticket = _writer.submit(_Settle(_closed(admission, _rated(settlement, at=admission.created_at))))
    if not ticket.wait(SETTLED_WITHIN_S):
        logger.warning("%s is settled, but the ledger is slow to commit it", admission.id)


def refuse(admission: Admission, *, http_status: int, error_type: str) -> None:
    """Write the row of a call that was recognised but not let in: no upstream call, no cost. Does not wait."""
    _writer.submit(_Refuse(_closed(admission, rows.refusal(http_status, error_type))))


def start() -> None:
    """Start the writer now, so that what dead workers left is settled without waiting for a first call."""
    _writer.start()


def close() -> None:
    """Write what waits and give the spool up. Called when the worker ends; may be called twice."""
    if not _writer.close():
        logger.error("The ledger's writer did not end in time")
    _house.close()


def _rated(settlement: Settlement, *, at: datetime) -> Settlement:
    """With the cost of what is known of its tokens: None where there is no price, 0 where nothing was asked."""
    if settlement.usage_source == UsageSource.NONE:
        return replace(settlement, cost_usd_micros=0)
    price = prices.known.find(settlement.upstream_model, upstream=settlement.upstream, at=at)
    if price is None:
        return settlement
    return replace(settlement, cost_usd_micros=cost(rows.tokens(rows.closing(settlement)), price), price_id=price.id)


def _closed(admission: Admission, settlement: Settlement) -> Row:
    return rows.closed(admission, settlement, boot_id=_house.boot_id)


# ---- what the writer's thread executes


class _Books:
    """What the statements of one transaction share: new rows, locked budgets, the hours that they add to."""

    def __init__(self, statements: Sequence["_Admit | _Settle"], connection: BaseDatabaseWrapper) -> None:
        self.connection = connection
        self.new: dict[str, Row] = {}
        """Rows to be written together, by id."""
        self.hours = OpenHours(connection)
        self.last_uses: dict[int, datetime] = {}
        self.periods = OpenPeriods(
            claimed=[each for statement in statements for each in statement.claimed],
            held=[period_id for statement in statements for period_id, _ in statement.holds],
        )

    def write_new(self) -> None:
        """Write the new rows, and count those that are closed already."""
        written = rows.insert(list(self.new.values()), self.connection)
        for id in written:
            row = self.new[id]
            if row["status"] != Status.STARTED:
                _count(row, [[period_id, 0] for period_id, _ in row["holds"]], self)  # what is closed holds nothing
        self.new.clear()

    def close(self) -> None:
        """Write in one order, here and in every other process: nobody waits in a circle."""
        self.write_new()
        self.periods.close()
        self.hours.close()
        for secret_id in sorted(self.last_uses):
            _touch_last_use(secret_id, self.last_uses[secret_id])


class _Admit:
    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._row = rows.opening(admission, boot_id=_house.boot_id)
        self.claimed = budgets.wanted(admission.claims, at=admission.created_at)
        self.holds: list[Hold] = []

    def execute(self, books: _Books) -> Exception | None:
        try:
            holds = books.periods.reserve(self._admission.claims, at=self._admission.created_at)
        except BudgetSpent as error:
            self._admission.holds[:] = []
            refused = _closed(self._admission, rows.refusal(error.status, error.type))
            books.new[self._admission.id] = refused | {"limit_hit": error.hit}
            return error
        self._admission.holds[:] = holds
        books.new[self._admission.id] = self._row | {"holds": holds}
        return None

    def give_up(self, error: Exception, *, is_in_doubt: bool) -> Exception | None:
        if is_in_doubt:
            self.come_too_late()
        return LedgerUnavailable()

    def come_too_late(self) -> None:
        """The caller was refused. If there is a row, it must not stay open."""
        _house.keep(_closed(self._admission, rows.refusal(LedgerUnavailable.status, LedgerUnavailable.type)))


class _Settle:
    """An UPDATE in the usual case. A row that was never written is inserted first."""

    def __init__(self, row: Row) -> None:
        self._row = row
        self.claimed: list[tuple[int, datetime]] = []

    @property
    def holds(self) -> list[Hold]:
        held: list[Hold] = self._row["holds"]
        return held

    def execute(self, books: _Books) -> Exception | None:
        _settle(self._row, books)
        return None

    def give_up(self, error: Exception, *, is_in_doubt: bool) -> Exception | None:
        _house.keep(self._row)
        return None

    def come_too_late(self) -> None: ...


class _Refuse(_Settle):
    """There is no row yet."""

    def execute(self, books: _Books) -> Exception | None:
        books.new.setdefault(self._row["id"], self._row)
        return None


def _settle(row: Row, books: _Books) -> None:
    """Close a row, or write it closed. One that was settled before stays as it is: once is enough."""
    if row["id"] in books.new:
        books.write_new()
    if _close(row, books):
        return
    books.new[row["id"]] = row
    books.write_new()
    # If it was not new, it stands. Either it was settled before, or the transaction that opened it has only just come
    # to its end, on a connection that we had given up: the INSERT waited for that.
    _close(row, books)


def _close(row: Row, books: _Books) -> bool:
    was_open = rows.close(row, books.connection)
    if was_open:
        _count(row, row["holds"], books)
        if row["status"] != Status.REFUSED:
            books.last_uses[row["secret_id"]] = row["created_at"]
    return was_open


def _count(row: Row, holds: list[Hold], books: _Books) -> None:
    """Count a call that was settled just now: in its budgets and in its hour."""
    books.periods.settle(holds, money=row["cost_usd_micros"] or 0, tokens=rows.tokens(row).total)
    books.hours.add(row)


def _touch_last_use(secret_id: int, used_at: datetime) -> None:
    if _house.last_use_is_due(secret_id, used_at):
        stale = Q(last_used_at=None) | Q(last_used_at__lt=used_at - LAST_USE_EVERY)
        # A lock that another process holds is not waited for: it writes the same.
        due = KeySecret.objects.select_for_update(skip_locked=True, no_key=True).filter(stale, pk=secret_id)
        if due.values_list("pk").first():
            KeySecret.objects.filter(pk=secret_id).update(last_used_at=used_at)


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
            _settle_at_once(list(map(rows.from_json, batch)))
        except UNFIT:
            for row in batch:
                _replay_alone(row)


def _replay_alone(row: Row) -> None:
    try:
        _settle_at_once([rows.from_json(row)])
    except UNFIT:
        reject(spool_folder(), json.dumps(row).encode())


def _orphan(whose: Q) -> None:
    """Settle the rows of dead workers by what is known of them: the estimate of their input."""
    count = 0
    open_rows = UsageRecord.objects.filter(whose, status=Status.STARTED)
    while batch := list(open_rows[:MAX_BATCH]):
        _settle_at_once(list(map(rows.orphaned, batch)))
        count += len(batch)
    if count:
        logger.warning("%d calls were orphaned by a worker that died", count)


def _settle_at_once(batch: list[Row]) -> None:
    """Settle some rows in one transaction."""
    with transaction.atomic():
        books = _Books([_Settle(row) for row in batch], connections[DEFAULT_DB_ALIAS])
        for row in batch:
            _settle(row, books)
        books.close()


_house = House()
_writer = GroupCommit(open_books=_Books, chores=_chores, secure=_house.secure, chore_every_s=settings.ORPHAN_SWEEP_S)
