"""
Re-rating runs: a preview, applied and undone in steps, each a transaction that also stores how far the run is.

A killed process doubles nothing: its step is rolled back, and the next one begins at the stored record. One run changes
records at a time; the database excludes a second one.
"""

import logging
import time
from datetime import datetime
from typing import Any

from django.db import IntegrityError, OperationalError, transaction
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from keys.budgets.locked_periods import PeriodsMoved
from keys.models import ModelPrice, Rerating, ReratingChange, UsageRecord
from keys.models.reratings import FIGURES
from keys.pricing import price_book, rerating
from keys.pricing.rerating import Amounts
from keys.usage.corrections import correct
from keys.usage.rows import Row
from lib import money

logger = logging.getLogger(__name__)

State = Rerating.RunState
PREVIEW_BATCH = 500
BATCH = 100
"""Records of a transaction. Requests with the same budgets wait for it."""
SLICE_S = 0.2
LOCK_NOT_AVAILABLE = "55P03"
MAX_MOVES = 3


class ReratingRejected(Exception):
    """The action is not possible now; the message says why."""


# ---- Actions of users.


def begin(
    *, first: datetime, end: datetime, model: str = "", upstream: str = "", user_id: int | None = None
) -> Rerating:
    """Begin the preview of a run. Requests that start later than now are rated with the current prices anyway."""
    end = min(end, timezone.now())
    if first >= end:
        raise ReratingRejected("The period has no past.")
    return Rerating.objects.create(begin=first, end=end, model=model, upstream=upstream, created_by_id=user_id)


def apply(run: Rerating) -> None:
    """Begin to apply a run. Raise ReratingRejected unless it is previewed, or while another run is in progress."""
    _begin_writing(run, State.APPLYING, of=[State.PREVIEWED])


def undo(run: Rerating) -> None:
    """Begin to restore the amounts from before a run, also of one that is still being applied.

    Raise ReratingRejected while another run is in progress, or if a later one has changed some of its records.
    """
    if _is_superseded(run):
        raise ReratingRejected("A later re-rating has changed some of the same requests. Undo that one first.")
    _begin_writing(run, State.UNDOING, of=[State.APPLYING, State.APPLIED])


def _is_superseded(run: Rerating) -> bool:
    later = ReratingChange.objects.filter(
        record_id=OuterRef("record_id"), pk__gt=OuterRef("pk"), rerating__state=State.APPLIED
    )
    return ReratingChange.objects.filter(Exists(later.exclude(rerating=run)), rerating=run).exists()


def _begin_writing(run: Rerating, state: str, *, of: list[str]) -> None:
    try:
        with transaction.atomic():
            locked = Rerating.objects.select_for_update().get(pk=run.pk)
            if locked.state not in of:
                raise ReratingRejected(f"The re-rating is in the state “{locked.get_state_display()}”.")
            locked.state, locked.is_writing, locked.finished_at = state, 1, None
            if state == State.APPLYING:
                locked.previewed_records = locked.records
                locked.after_created_at, locked.after_id = None, ""
                _reset(locked)
            locked.after_change = 0
            locked.save()
    except IntegrityError:
        raise ReratingRejected("Another re-rating is in progress. Wait until it ends.") from None
    run.refresh_from_db()


def _reset(run: Rerating) -> None:
    for name in FIGURES:
        setattr(run, name, 0)
    run.budgets = []


# ---- Steps.


def run_slice() -> None:
    """Continue what is in progress for a slice of time. Runs every second in every worker, which share the steps."""
    ends_at = time.monotonic() + SLICE_S
    running = Rerating.objects.filter(state__in=[State.PREVIEWING, State.APPLYING, State.UNDOING])
    for pk in running.order_by("pk").values_list("pk", flat=True):
        while time.monotonic() < ends_at and step(pk):
            pass


def step(pk: int) -> bool:
    """Do one step of a run. Return whether there may be more to do now."""
    for attempt in range(MAX_MOVES):
        try:
            return _step(pk, is_last_attempt=attempt == MAX_MOVES - 1)
        except PeriodsMoved:
            continue
        except OperationalError as error:
            if getattr(error.__cause__, "sqlstate", None) != LOCK_NOT_AVAILABLE:
                raise
            return False  # a request of the batch is being settled
    return False


@transaction.atomic
def _step(pk: int, *, is_last_attempt: bool) -> bool:
    run = Rerating.objects.select_for_update(skip_locked=True, of=("self",)).filter(pk=pk).first()
    if run is None or not run.is_running:
        return False  # another process does it, or it is done
    if run.state == State.UNDOING:
        is_over = _undo_batch(run, is_last_attempt=is_last_attempt)
    else:
        is_over = _rate_batch(run, is_last_attempt=is_last_attempt)
    if is_over:
        _finish(run)
    else:
        _store(run)
    return not is_over


def _finish(run: Rerating) -> None:
    """Store the end of a run, with an entry in the audit log."""
    following = {State.PREVIEWING: State.PREVIEWED, State.APPLYING: State.APPLIED, State.UNDOING: State.UNDONE}
    run.state, run.is_writing, run.finished_at = following[State(run.state)], None, timezone.now()
    run.save()
    logger.info("%s: %s, %d of %d records changed", run, run.state, run.changed_records, run.records)


def _store(run: Rerating) -> None:
    """Store how far a run is. None of this enters the audit log."""
    progress = ["after_created_at", "after_id", "after_change", "restored_records", "kept_records"]
    run.save(update_fields=[*FIGURES, "budgets", *progress])


def _rate_batch(run: Rerating, *, is_last_attempt: bool) -> bool:
    """Rate the next records of a run, and change them unless it is a preview. Return whether there are no more."""
    is_preview = run.state == State.PREVIEWING
    size = PREVIEW_BATCH if is_preview else BATCH
    records = UsageRecord.objects.filter(rerating.covered(run))
    if run.after_created_at is not None:
        of_same_time = Q(created_at=run.after_created_at, id__gt=run.after_id)
        records = records.filter(of_same_time | Q(created_at__gt=run.after_created_at))
        records = records.filter(created_at__gte=run.after_created_at)  # for the index
    batch: list[Row] = [dict(row) for row in records.order_by("created_at", "id")[:size].values()]
    if not batch:
        return True
    book = price_book.load()
    if is_preview:
        for row in batch:
            _count(run, row, rerating.amounts_now(row, book))
    else:
        _apply_to(run, batch, book, is_last_attempt=is_last_attempt)
    run.after_created_at, run.after_id = batch[-1]["created_at"], batch[-1]["id"]
    return len(batch) < size


def _apply_to(run: Rerating, batch: list[Row], book: Any, *, is_last_attempt: bool) -> None:
    def change(row: Row) -> Amounts:
        amounts = rerating.amounts_now(row, book)
        _count(run, row, amounts)  # as it is locked: it may have been settled since the batch was read
        return amounts

    corrected = correct([row["id"] for row in batch], change, is_last_attempt=is_last_attempt)
    ReratingChange.objects.bulk_create(
        ReratingChange(rerating=run, record_id=row["id"], before=rerating.amounts_of(row), after=amounts)
        for row, amounts in corrected
    )


def _count(run: Rerating, row: Row, amounts: Amounts) -> None:
    old, new = row["cost_usd_picos"], amounts["cost_usd_picos"]
    run.records += 1
    run.old_micros, run.old_picos_rest = money.split(run.old_picos + (old or 0))
    run.new_micros, run.new_picos_rest = money.split(run.new_picos + (new or 0))
    if amounts == rerating.amounts_of(row):
        return
    run.changed_records += 1
    run.newly_priced += old is None and new is not None
    run.newly_unpriced += old is not None and new is None
    run.budgets = sorted({*run.budgets, *(budget_id for budget_id, _ in row["reservations"])})


def _undo_batch(run: Rerating, *, is_last_attempt: bool) -> bool:
    """Restore the next records of a run. Return whether there are no more.

    A record that was settled since, such as by the late settlement of an interrupted request, keeps its amounts.
    """
    changes = list(run.changes.filter(pk__gt=run.after_change).order_by("pk")[:BATCH])
    if not changes:
        return True
    by_record = {each.record_id: each for each in changes}
    named = {each.before["price_id"] for each in changes} - {None}
    existing = {None, *ModelPrice.objects.filter(pk__in=named).values_list("pk", flat=True)}

    def change(row: Row) -> Amounts | None:
        saved = by_record[row["id"]]
        if rerating.amounts_of(row) != saved.after:
            return None
        before: Amounts = saved.before
        return before | {"price_id": before["price_id"] if before["price_id"] in existing else None}

    restored = correct(list(by_record), change, is_last_attempt=is_last_attempt)
    run.restored_records += len(restored)
    run.kept_records += len(changes) - len(restored)
    run.after_change = changes[-1].pk
    return len(changes) < BATCH
