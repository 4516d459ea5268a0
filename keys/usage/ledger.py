"""
The ledger: the only writer of usage records, hourly rollups and budget periods. One record per request.

`admit` writes the record before the upstream is contacted; `settle` closes it exactly once, guarded by the WHERE of its
statement. Both return when the batch that holds their row is committed. A settlement that the database cannot take is
spooled, or buffered in memory while the disk is full too, and replayed; a request whose admission cannot be committed
is rejected. Orphaned records, whose worker died, are settled as `interrupted` by the recovery of another worker: those
of a dead process on this host by its abandoned spool, those of a lost host by their lease. The real settlement of an
interrupted record replaces that estimate, whenever it arrives.
"""

import logging

from django.conf import settings

from keys.domain.limits import LimitExceeded
from keys.errors import LedgerUnavailable
from keys.pricing.price_book import prices
from keys.usage import recovery, statements
from keys.usage.backlog import backlog
from keys.usage.group_commit import GroupCommit
from keys.usage.rows import Admission, Settlement
from keys.usage.statements import Admit, Settle
from lib import database_health

logger = logging.getLogger(__name__)

SETTLE_TIMEOUT_S = 10.0  # the writer abandons an unresponsive database long before


def lease_s(request_timeout_s: float) -> float:
    """Return how long a request may stay open: its attempts, a blocked write to its client, and its settlement."""
    return request_timeout_s + settings.CLIENT_SEND_TIMEOUT_S + SETTLE_TIMEOUT_S + settings.LEASE_GRACE_S


def admit(admission: Admission) -> None:
    """Write the record of a request, reserve its budgets, and wait for the commit.

    Raise BudgetExceeded (402), which leaves a rejected record, or LedgerUnavailable (503).
    """
    if _writer.is_unavailable or not _writer.write(Admit(admission)):
        raise LedgerUnavailable
    backlog.begin_request(admission.id, lease_s=admission.lease_s)


def settle(admission: Admission, settlement: Settlement) -> None:
    """Close the record of a request, exactly once, and wait until that is committed or spooled.

    The cost is computed from the price of the model at the upstream that served it, and replaces the reservations.
    """
    row = statements.settled(admission, settlement, prices.last_known)
    ticket = _writer.submit(Settle(row, is_expected=True))
    backlog.end_request(admission.id)
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
    row = statements.rejected(admission, http_status, error_type, limit_exceeded, is_model_known=is_model_known)
    _writer.submit(Settle(row, is_expected=True))


def is_unavailable() -> bool:
    """Return whether the database is unavailable, so that no request can be admitted."""
    return _writer.is_unavailable


def start() -> None:
    """Start the writer, so that orphaned records are settled before the first request."""
    backlog.open()  # before the thread exists: it and a greenlet must not wait for the same lock
    _writer.start()


def close() -> None:
    """Write what is queued, and close the spool. Called at shutdown; may be called twice."""
    if _writer.close():
        _dead_spools.close()
    else:
        logger.error("Ledger: the writer did not stop in time; its statements are spooled")
    backlog.close()
    statements.unsuccessful_names.clear()


def _settle_expired() -> bool:
    """Settle orphaned records, but not just after an outage, when live workers of other hosts replay their spools."""
    return _writer.available_for_s >= settings.LEASE_GRACE_S and recovery.settle_expired()


_dead_spools = recovery.DeadSpools()
_writer = GroupCommit(
    statements.write,
    chores={
        "replay of the spool": recovery.replay_backlog,
        "replay of dead spools": _dead_spools.replay,
        "settlement of orphans": _settle_expired,
    },
    check=recovery.check_database,
    flush=backlog.flush_to_spool,
    chore_interval_s=settings.ORPHAN_SWEEP_S,
)
database_health.add_check(is_unavailable)
