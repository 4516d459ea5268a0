"""
The only writer of usage: one call, one row, whatever happens.

`admit` writes the row before the upstream is called; `settle` closes it exactly once afterwards, guarded by the WHERE
of its UPDATE. Both return when the batch that holds their statement is committed. A settlement that the database does
not take waits in the spool and is replayed; an admission that it does not take is no call. Rows whose worker died are
settled as `orphaned` by the next worker's chores: those of a dead process on this machine by its abandoned spool,
those of a lost machine by their lease.
"""

import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, DataError, IntegrityError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Q
from django.utils import timezone

from keys import budgets, rows
from keys.budgets import Hold, OpenPeriods
from keys.errors import BudgetSpent, LedgerUnavailable
from keys.group_commit import GroupCommit
from keys.hours import OpenHours
from keys.models import KeySecret, UsageRecord
from keys.prices import prices
from keys.pricing import cost
from keys.rows import Admission, Settlement, Status, UsageSource
from keys.spool import Spool, iter_dead, reject

logger = logging.getLogger(__name__)

LAST_USE_EVERY = timedelta(minutes=5)  # one write a call would queue all calls of a key on one row lock


def admit(admission: Admission) -> None:
    """Write the row of a call, hold its budgets, and wait for the commit.

    Raise BudgetSpent (402), which leaves a refused row, or LedgerUnavailable (503); then there is no call.
    """
    ticket = _writer.submit(_Admit(admission))
    if ticket.wait(settings.LEDGER_WAIT_S):
        return
    ticket.abandoned = True
    # The writer may be in the middle of it: if the row comes to be after all, it says how the call ended.
    _writer.submit(_Settle(admission, Settlement(status=Status.FAILED, http_status=503, error_type="overloaded_error")))
    raise LedgerUnavailable


def settle(admission: Admission, settlement: Settlement) -> None:
    """Close the row of a call, exactly once, and wait until that is committed or in the spool.

    It is rated with the price that its model has at the upstream that served it; what it held of budgets is spent.
    """
    ticket = _writer.submit(_Settle(admission, _rated(settlement, at=admission.created_at)))
    if not ticket.wait(settings.LEDGER_WAIT_S):
        logger.warning("%s is settled, but the ledger is slow to commit it", admission.id)


def refuse(admission: Admission, *, http_status: int, error_type: str) -> None:
    """Write the row of a call that was recognised but not let in: no upstream call, no cost. Does not wait."""
    _writer.submit(_Settle(admission, _refused(http_status, error_type)))


def _refused(http_status: int, error_type: str) -> Settlement:
    return Settlement(status=Status.REFUSED, http_status=http_status, error_type=error_type)


def _rated(settlement: Settlement, *, at: datetime) -> Settlement:
    """With the cost of what is known of its tokens: None where there is no price, 0 where nothing was asked."""
    if settlement.usage_source == UsageSource.NONE:
        return replace(settlement, cost_usd_micros=0)
    price = prices.known.find(settlement.upstream_model, upstream=settlement.upstream, at=at)
    if price is None:
        return settlement
    return replace(settlement, cost_usd_micros=cost(rows.tokens(rows.closing(settlement)), price), price_id=price.id)


def start() -> None:
    """Start the writer now, so that what dead workers left is settled without waiting for a first call."""
    _writer.start()


def close() -> None:
    """Write what waits and give the spool up. Called when the worker ends; may be called twice."""
    if not _writer.close():
        logger.error("The ledger's writer did not end in time")
    _house.close()


# ---- what the writer's thread executes


class _Books:
    """What the statements of one transaction share: the locked budgets, and the hours that they add to."""

    def __init__(self, statements: Sequence["_Admit | _Settle"], connection: BaseDatabaseWrapper) -> None:
        self.connection = connection
        self.hours = OpenHours(connection)
        self.last_uses: dict[int, datetime] = {}
        self.periods = OpenPeriods(
            claimed=[each for statement in statements for each in statement.claimed],
            held=[period_id for statement in statements for period_id, _ in statement.holds],
        )

    def close(self) -> None:
        """Write in one order, here and in every other process: nobody waits in a circle."""
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
            _refuse(self._row, error, books)
            return error
        self._admission.holds[:] = holds
        rows.insert(self._row | {"holds": holds}, books.connection)
        return None

    def give_up(self, error: Exception) -> Exception | None:
        logger.warning("No call is admitted: the ledger's database is away (%s)", type(error).__name__)
        return LedgerUnavailable()


class _Settle:
    """An UPDATE in the usual case. A row that was never written (refused, or replayed) is inserted first."""

    def __init__(self, admission: Admission, settlement: Settlement) -> None:
        self._row = (
            rows.opening(admission, boot_id=_house.boot_id) | {"settled_at": timezone.now()} | rows.closing(settlement)
        )
        self._row["holds"] = admission.holds
        self.claimed: list[tuple[int, datetime]] = []

    @property
    def holds(self) -> list[Hold]:
        return self._row["holds"]  # type: ignore[no-any-return]  # filled when the call is admitted

    def execute(self, books: _Books) -> Exception | None:
        _settle(self._row, books)
        return None

    def give_up(self, error: Exception) -> Exception | None:
        try:
            _house.spool.append(rows.to_json(self._row))
        except OSError:
            # The lease will settle the row as orphaned; its counts stand here and nowhere else.
            logger.critical("Neither database nor spool took this row: %s", json.dumps(rows.to_json(self._row)))
        return None


def _refuse(row: dict[str, Any], error: BudgetSpent, books: _Books) -> None:
    closing = rows.closing(_refused(error.status, error.type))
    _settle(row | {"settled_at": timezone.now(), "holds": []} | closing | {"limit_hit": error.hit}, books)


def _settle(row: dict[str, Any], books: _Books) -> None:
    """Close a row, and count it if it was this that closed it: in its budgets and in its hour."""
    if row["status"] != Status.REFUSED and rows.close(row, books.connection):
        books.last_uses[row["secret_id"]] = row["created_at"]
        _count(row, row["holds"], books)
        return
    # If the row stands, this writes nothing: then it was settled before, and once is enough.
    if rows.insert(row, books.connection):
        _count(row, [[period_id, 0] for period_id, _ in row["holds"]], books)  # its admission never held anything


def _count(row: dict[str, Any], holds: list[Hold], books: _Books) -> None:
    books.periods.settle(holds, money=row["cost_usd_micros"] or 0, tokens=rows.tokens(row).total)
    books.hours.add(row)


def _touch_last_use(secret_id: int, used_at: datetime) -> None:
    if _house.last_use_is_due(secret_id, used_at):
        stale = Q(last_used_at=None) | Q(last_used_at__lt=used_at - LAST_USE_EVERY)
        KeySecret.objects.filter(stale, pk=secret_id).update(last_used_at=used_at)


# ---- chores: the spool, and what dead workers left


class _House:
    """What the writer keeps for its process: its boot id, its spool, and when it last noted a secret's use."""

    def __init__(self) -> None:
        self._pid = 0
        self._lock = threading.Lock()
        self._last_use: dict[int, datetime] = {}

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

    def close(self) -> None:
        if self._pid == os.getpid():
            self._spool.close()
            self._pid = 0


def spool_folder() -> Path:
    return Path(settings.STATE_DIR) / "spool"


def _chores() -> None:
    """Bring home what the database missed, and settle the rows whose worker is gone."""
    spool = _house.spool
    if not spool.is_empty():
        _replay(spool.rows())
        spool.clear()
    _orphan(Q(lease_expires_at__lt=timezone.now()))
    for dead in iter_dead(spool_folder(), but=spool.path):
        _replay(dead.rows())
        _orphan(Q(boot_id=dead.boot_id))
        dead.remove()


def _replay(spooled: list[dict[str, Any]]) -> None:
    """Settle spooled rows. One that the database will never take is kept beside the spool, and said."""
    for row in spooled:
        try:
            with transaction.atomic():
                _settle_alone(rows.from_json(row))
        except (DataError, IntegrityError, KeyError, TypeError, ValueError):
            reject(spool_folder(), json.dumps(row).encode())


def _settle_alone(row: dict[str, Any]) -> None:
    books = _Books([], connections[DEFAULT_DB_ALIAS])
    books.periods = OpenPeriods(claimed=[], held=[period_id for period_id, _ in row["holds"]])
    _settle(row, books)
    books.close()


def _orphan(whose: Q) -> None:
    """Settle the rows of dead workers, by what is known of them: the estimate of their input."""
    ids = UsageRecord.objects.filter(whose, status=Status.STARTED).values_list("pk", flat=True)
    count = 0
    for id in list(ids):
        with transaction.atomic():
            count += _orphan_one(id)
    if count:
        logger.warning("%d calls were orphaned by a worker that died", count)


def _orphan_one(id: str) -> bool:
    record = UsageRecord.objects.filter(pk=id, status=Status.STARTED).first()
    if record is None:
        return False  # it was settled meanwhile
    tokens = record.input_tokens if record.input_tokens is not None else record.estimated_input_tokens
    row = {item.attname: getattr(record, item.attname) for item in UsageRecord._meta.concrete_fields}
    settlement = Settlement(status=Status.ORPHANED, input_tokens=tokens, usage_source=UsageSource.ESTIMATED)
    _settle_alone(row | {"settled_at": timezone.now()} | rows.closing(settlement))
    return True


_house = _House()
_writer = GroupCommit(open_books=_Books, chores=_chores, chore_every_s=settings.ORPHAN_SWEEP_S)
