"""
Recovery, in the writer's thread: spooled rows are replayed, then orphaned records are settled as interrupted.

An interruption is an estimate: the real settlement replaces it whenever it arrives, from whichever host. Live processes
of this host find their own orphans; a lease, which depends on the clocks of two hosts, is for lost hosts alone.
"""

import logging
import secrets
import time
from collections.abc import Generator, Iterable, Iterator, Sequence

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from keys.models import UsageRecord
from keys.pricing import price_book
from keys.pricing.price_book import PriceBook
from keys.usage import column_values, rows, write_errors
from keys.usage.backlog import backlog, spool_folder
from keys.usage.column_values import UnfitRecord
from keys.usage.group_commit import MAX_BATCH
from keys.usage.rows import Admission, Row, Settlement, Status
from keys.usage.spool import (
    MAX_LINE_BYTES,
    DeadSpool,
    iter_dead,
    live_boot_ids,
    quarantine,
    report_unreadable,
)
from keys.usage.statements import settle_rows

logger = logging.getLogger(__name__)

SLICE_S = 0.05  # requests wait for it: with 0.3 s, an admission and a settlement took 0.8 s
MAX_QUARANTINED = 1_000
"""Lines of one file. A file with more is kept as a whole."""
MAX_BATCH_BYTES = 2 * MAX_LINE_BYTES
PROBE_KEY_ID = 0  # no key: the row is never committed, and its foreign keys are checked at commit
WITHOUT_ESTIMATE = Settlement(status=Status.INTERRUPTED, cost_usd_picos=0)
_unsettleable: set[str] = set()
"""IDs of records that cannot be settled even without an estimate. Logged once."""


def check_database() -> None:
    """Write a row as every settlement is written, and roll it back. Raise the error of a database that rejects it."""
    admission = Admission(
        id=f"probe-{secrets.token_hex(8)}",
        api_key_id=PROBE_KEY_ID,
        secret_id=PROBE_KEY_ID,
        api_format="",
        model="",
        streamed=False,
        estimated_input_tokens=None,
        lease_s=0,
    )
    with transaction.atomic():
        settle_rows([rows.closed(admission, Settlement(status=Status.REJECTED), boot_id=backlog.boot_id)])
        transaction.set_rollback(True)


# ---- Spooled rows.


def replay_backlog() -> bool:
    """Settle the spooled rows of this process. Return False: there is no more."""
    if backlog.has_pending():
        replay = _Replay()
        for lines in _batches(backlog.pending()):
            replay.settle(lines)
        logger.warning("Ledger: %d spooled rows replayed", replay.settled)
        backlog.clear()
    return False


class DeadSpools:
    """The spools of the dead processes of this host, replayed in slices of time: a file may be of any size."""

    def __init__(self) -> None:
        self._replay: Generator[None] | None = None

    def close(self) -> None:
        """Unlock a spool whose replay has not ended: the next process begins it again."""
        if self._replay is not None:
            self._replay.close()
            self._replay = None

    def replay(self) -> bool:
        """Replay for one slice. Return whether there is more."""
        ends_at = time.monotonic() + SLICE_S
        replay, self._replay = self._replay or _replay_dead_spools(), None
        for _ in replay:
            if time.monotonic() >= ends_at:
                self._replay = replay
                return True
        return False


def _replay_dead_spools() -> Generator[None]:
    """Replay each spool, and settle what its process left open. One that fails stays, and is logged once."""
    for dead in iter_dead(spool_folder(), except_for=backlog.spool.path):
        try:
            yield from _replay_dead_spool(dead)
        except Exception as error:
            if write_errors.is_outage(error):
                raise
            report_unreadable(dead.path, error)


def _replay_dead_spool(dead: DeadSpool) -> Iterator[None]:
    replay, orphans = _Replay(max_quarantined=MAX_QUARANTINED), Q(boot_id=column_values.text(dead.boot_id))
    try:
        for lines in _batches(dead.lines()):
            replay.settle(lines)
            yield
    except OSError:  # of the disk: the process is dead all the same
        settle_orphans(orphans)
        raise
    settle_orphans(orphans)
    if replay.is_incomplete:
        dead.set_aside()
    else:
        dead.remove()


def _batches(lines: Iterable[bytes | None]) -> Iterator[list[bytes | None]]:
    """Yield the lines in batches of a bounded size. None stands for a part of a line that is too long."""
    batch: list[bytes | None] = []
    size = 0
    for line in lines:
        batch.append(line)
        size += MAX_LINE_BYTES if line is None else len(line)
        if len(batch) == MAX_BATCH or size >= MAX_BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


class _Replay:
    """The replay of one file. What cannot be settled is quarantined, and never tried again."""

    def __init__(self, *, max_quarantined: float = float("inf")) -> None:
        self.settled = 0
        self.is_incomplete = False
        """Whether the file has content that is not in the quarantine."""
        self._may_quarantine = max_quarantined

    def settle(self, lines: Iterable[bytes | None]) -> None:
        """Settle a batch of rows. Raise the error of an unavailable database."""
        found: list[tuple[bytes, Row]] = []
        unfit: list[bytes] = []
        for line in lines:
            if line is None:
                self.is_incomplete = True
                continue
            try:
                found.append((line, rows.from_json(line)))
            except UnfitRecord:
                unfit.append(line)
        rejected = self._settle(found)
        self.settled += len(found) - len(rejected)
        self._quarantine(unfit, reason="they contain no usage record")
        self._quarantine([line for line, _ in rejected], reason="the database rejects them")
        if rejected:
            settle_orphans(Q(pk__in=[row["id"] for _, row in rejected]))

    def _settle(self, found: list[tuple[bytes, Row]]) -> list[tuple[bytes, Row]]:
        """Settle rows, and return those that the database rejects."""
        try:
            if found:
                settle_rows(row for _, row in found)
        except Exception as error:
            if write_errors.is_outage(error):
                raise
            return [(line, row) for line, row in found if not _is_settled(row)]
        return []

    def _quarantine(self, lines: list[bytes], *, reason: str) -> None:
        if len(lines) > self._may_quarantine:
            self.is_incomplete = True
        elif lines:
            self._may_quarantine -= len(lines)
            quarantine(spool_folder(), lines, reason=reason)


def _is_settled(row: Row) -> bool:
    """Settle a request. Return False if its row cannot be written; raise the error if no row can."""
    try:
        settle_rows([row])
    except Exception as error:
        _raise_unless_of_row(error)
        logger.error("Ledger: %s cannot be settled", row["id"], exc_info=error)
        return False
    return True


def _raise_unless_of_row(error: Exception) -> None:
    """Raise the error unless its row causes it."""
    is_of_row = write_errors.is_of_row(error)
    if is_of_row is None:
        check_database()
    elif not is_of_row:
        raise error


# ---- Orphaned records.


def settle_expired() -> bool:
    """Settle the orphans of lost hosts, by their leases, and those of this process. Return False: there is no more."""
    alive = {backlog.boot_id, *map(column_values.text, live_boot_ids(spool_folder()))}
    settle_orphans(Q(lease_expires_at__lt=timezone.now()) & ~Q(boot_id__in=alive))
    if own := backlog.expired_requests():
        settle_orphans(Q(pk__in=own))
        for id in own:
            backlog.end_request(id)
    return False


def settle_orphans(condition: Q) -> None:
    """Settle orphaned records as interrupted, from the estimate of their input."""
    count = 0
    open_records = UsageRecord.objects.filter(condition, status=Status.STARTED).order_by()
    while records := list(open_records.exclude(pk__in=_unsettleable)[:MAX_BATCH]):
        book = price_book.load()  # the cache of the process is not for the writer's thread, and may be empty so far
        count += _interrupt(records, book)
    if count:
        logger.warning("Ledger: %d orphaned requests settled as interrupted", count)


def _interrupt(records: Sequence[UsageRecord], book: PriceBook) -> int:
    """Settle records as interrupted. Return the number of those that could be."""
    try:
        settle_rows(rows.interrupted(record, _estimate(record, book)) for record in records)
    except Exception as error:
        if write_errors.is_outage(error):
            raise
        return sum(_is_interrupted(record, book) for record in records)
    return len(records)


def _is_interrupted(record: UsageRecord, book: PriceBook) -> bool:
    """Settle a record as interrupted, without an estimate if it cannot be written with one. Return whether it could."""
    for has_estimate in (True, False):
        try:
            settle_rows([rows.interrupted(record, _estimate(record, book) if has_estimate else WITHOUT_ESTIMATE)])
        except Exception as error:
            _raise_unless_of_row(error)
            logger.error("Ledger: %s cannot be settled as interrupted", record.pk, exc_info=error)
        else:
            return True
    _unsettleable.add(record.pk)
    return False


def _estimate(record: UsageRecord, book: PriceBook) -> Settlement:
    return rows.rated(rows.interruption(record), at=record.created_at, book=book)
