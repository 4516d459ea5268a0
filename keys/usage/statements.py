"""Statements of the ledger: admissions and settlements, and the transaction that writes a batch of them."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from django.db import DEFAULT_DB_ALIAS, ProgrammingError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Q

from keys.budgets.locked_periods import LockedPeriods, PeriodsMoved, RequiredPeriod
from keys.budgets.reservations import Reservation
from keys.domain.limits import LimitExceeded
from keys.errors import BudgetExceeded, LedgerUnavailable
from keys.models import KeySecret
from keys.pricing.price_book import PriceBook
from keys.usage import dropped, record_table, record_writer, rows
from keys.usage.backlog import LAST_USED_INTERVAL, backlog
from keys.usage.hourly_rollup import RollupWriter
from keys.usage.names import MAX_NAMES, BoundedNames
from keys.usage.record_writer import Written
from keys.usage.rows import Admission, Row, Settlement, Status

logger = logging.getLogger(__name__)

MAX_MOVES = 4
"""Attempts to write a batch before its last one. The first expects that all periods exist."""
UNSUCCESSFUL = (Status.REJECTED, Status.FAILED)
unsuccessful_names = BoundedNames(MAX_NAMES)


class RecordsUnexpected(Exception):
    """A record is not open that was expected to be. Write the batch again, and read what it replaces."""


class Admit:
    """The record of a new request, and its reservations."""

    def __init__(self, admission: Admission) -> None:
        self.error: Exception | None = None
        self.required_periods = [(each.budget, admission.created_at) for each in admission.reservation_requests]
        self.row = rows.opening(admission, boot_id=backlog.boot_id)
        self.reservations: list[Reservation] = []
        self._admission = admission

    is_expected = True

    @property
    def is_plain(self) -> bool:
        """Whether the row is all there is to write."""
        return not self.required_periods

    def apply(self, batch: "_Batch") -> None:
        self.error = None
        try:
            requests, at = self._admission.reservation_requests, self._admission.created_at
            reservations, standings = batch.periods.reserve(requests, at=at)
        except BudgetExceeded as error:
            self.error = error
            self._admission.reservations[:] = []
            batch.add(rejected(self._admission, error.status, error.type, error.limit_exceeded))
            return
        self._admission.reservations[:] = reservations
        self._admission.standings[:] = standings
        batch.admitted_here.add(self._admission.id)
        batch.add(self.row | {"reservations": reservations})

    def abandon(self, error: Exception, *, is_in_doubt: bool) -> Exception | None:
        if is_in_doubt:
            self.committed_after_abandon()
        return LedgerUnavailable()

    def committed_after_abandon(self) -> None:
        """Close the record if there is one: the client got a 503."""
        backlog.add(rejected(self._admission, LedgerUnavailable.status, LedgerUnavailable.type))


class Settle:
    """The record of a finished request."""

    required_periods: Sequence[RequiredPeriod] = ()
    is_plain = False
    error: Exception | None = None

    def __init__(self, row: Row, *, is_expected: bool = False) -> None:
        self.row = row
        self.is_expected = is_expected
        """Whether this process has admitted the request, or rejects it now: its record is open, or new."""

    @property
    def reservations(self) -> list[Reservation]:
        reservations: list[Reservation] = self.row["reservations"]
        return reservations

    def apply(self, batch: "_Batch") -> None:
        batch.add(self.row)

    def abandon(self, error: Exception, *, is_in_doubt: bool) -> Exception | None:
        backlog.add(self.row)
        return None

    def committed_after_abandon(self) -> None: ...


def settled(admission: Admission, settlement: Settlement, book: PriceBook) -> Row:
    """Return the row of a settled request of this process, with its cost."""
    return rows.settled(admission, _with_known_name(admission, settlement), boot_id=backlog.boot_id, book=book)


def closed(admission: Admission, settlement: Settlement) -> Row:
    """Return the row of a settled request of this process."""
    return rows.closed(admission, _with_known_name(admission, settlement), boot_id=backlog.boot_id)


def _with_known_name(admission: Admission, settlement: Settlement) -> Settlement:
    """Return the settlement, which says whether the hourly rollups have the model's name."""
    if settlement.status in UNSUCCESSFUL and settlement.is_model_known:
        is_known = unsuccessful_names.add(admission.model, owner=admission.api_key_id, at=admission.created_at)
        return replace(settlement, is_model_known=is_known)
    return settlement


def rejected(
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
    return closed(admission, settlement)


class _Batch:
    """What one transaction writes: records, and what they change in budget periods and hourly rollups."""

    def __init__(self, statements: Sequence[Admit | Settle], connection: BaseDatabaseWrapper, *, attempt: int) -> None:
        self.periods = LockedPeriods(
            connection=connection,
            required=[each for statement in statements for each in statement.required_periods],
            reserved=[
                (budget_id, statement.row["created_at"])
                for statement in statements
                for budget_id, _ in statement.reservations
            ],
            creates_required=attempt > 0,
            is_last_attempt=attempt == MAX_MOVES,
        )
        self.admitted_here: set[str] = set()
        """IDs of the requests that this transaction admits."""
        self.dropped: list[Row] = []
        """Settlements that are not written, since the request is settled already."""
        self.late_settlements = 0
        self._connection = connection
        self._is_expected = attempt == 0 and all(statement.is_expected for statement in statements)
        self._rollups = RollupWriter(connection)
        self._rows: dict[str, Row] = {}

    def add(self, row: Row) -> None:
        """Add a row. The first settlement of a request counts, an opening row or an interruption only without one."""
        before = self._rows.get(row["id"])
        if before is None or before["status"] == Status.STARTED or _is_real(row) > _is_real(before):
            self._rows[row["id"]] = row
        elif _is_real(row):
            self.dropped.append(row)

    def close(self) -> None:
        """Write everything, in the same order in every process, so that no two transactions deadlock."""
        written = self._write_records()
        self.dropped += [row for id, row in self._rows.items() if id not in written and _is_real(row)]
        last_uses = {}
        for id, replaced in written.items():
            row = self._rows[id]
            if row["status"] == Status.STARTED:
                continue
            self._settle(row, replaced)
            if row["status"] != Status.REJECTED:
                last_uses[row["secret_id"]] = row["created_at"]
        self.periods.close()
        self._rollups.close()
        for secret_id in sorted(id for id in last_uses if id is not None):
            _touch_last_used(secret_id, last_uses[secret_id])

    def _write_records(self) -> Mapping[str, Written]:
        """Write the records, and return what was written. Raise RecordsUnexpected."""
        rows = list(self._rows.values())
        if not self._is_expected:
            return record_writer.write(rows, self._connection)
        if not record_writer.write_expected(rows, self._connection):
            raise RecordsUnexpected
        return dict.fromkeys(self._rows, record_writer.OPEN)

    def _settle(self, row: Row, replaced: Written) -> None:
        """Spend the cost of a request and count it, instead of its reservation or of its interruption."""
        picos, tokens = row["cost_usd_picos"] or 0, rows.total_tokens(row)
        is_reserved = replaced.was_open or row["id"] in self.admitted_here
        if replaced.interruption is not None:
            before = rows.as_interrupted(row, replaced.interruption)
            picos -= before["cost_usd_picos"] or 0
            tokens -= rows.total_tokens(before)
            is_reserved = False  # the interruption released it
            self._rollups.subtract(before)
            self.late_settlements += 1
        reservations = [[budget_id, amount if is_reserved else 0] for budget_id, amount in row["reservations"]]
        self.periods.settle(reservations, at=row["created_at"], picos=picos, tokens=tokens)
        self._rollups.add(row)


def _is_real(row: Row) -> bool:
    """Return whether the row is the settlement of a request, not its opening or its interruption."""
    return row["status"] not in (Status.STARTED, Status.INTERRUPTED)


def write(statements: Sequence[Admit | Settle], connection: BaseDatabaseWrapper) -> None:
    """Write the statements of a batch, all or none."""
    try:
        _write(statements, connection)
    except ProgrammingError as error:
        if not record_table.is_of_other_form(error):
            raise
        _write(statements, connection)  # the table was partitioned meanwhile


def _write(statements: Sequence[Admit | Settle], connection: BaseDatabaseWrapper) -> None:
    if len(statements) <= record_writer.MAX_ROWS and all(statement.is_plain for statement in statements):
        record_writer.write_expected(list({each.row["id"]: each.row for each in statements}.values()), connection)
        return
    batch = _write_batch(statements, connection)
    if batch.late_settlements:
        logger.warning("Ledger: %d interrupted requests settled late", batch.late_settlements)
    if batch.dropped:
        dropped.report(batch.dropped)


def _write_batch(statements: Sequence[Admit | Settle], connection: BaseDatabaseWrapper) -> _Batch:
    """Write the statements in a transaction, again if periods or records are not as the first attempt expects."""
    for attempt in range(MAX_MOVES):
        with suppress(PeriodsMoved, RecordsUnexpected), transaction.atomic():
            return _written_batch(statements, connection, attempt=attempt)
    with transaction.atomic():
        return _written_batch(statements, connection, attempt=MAX_MOVES)


def _written_batch(statements: Sequence[Admit | Settle], connection: BaseDatabaseWrapper, *, attempt: int) -> _Batch:
    batch = _Batch(statements, connection, attempt=attempt)
    for statement in statements:
        statement.apply(batch)
    batch.close()
    return batch


def settle_rows(batch: Iterable[Row]) -> None:
    """Settle requests by their rows, all or none."""
    write([Settle(row) for row in batch], connections[DEFAULT_DB_ALIAS])


def _touch_last_used(secret_id: int, used_at: datetime) -> None:
    if backlog.should_write_last_used(secret_id, used_at):
        stale = Q(last_used_at=None) | Q(last_used_at__lt=used_at - LAST_USED_INTERVAL)
        KeySecret.objects.filter(stale, pk=secret_id).update(last_used_at=used_at)
