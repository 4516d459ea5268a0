"""Settlements that are not written because their request is settled already: repeated ones, and contradictions."""

import logging
from collections.abc import Sequence

from keys.models import UsageRecord
from keys.usage import rows
from keys.usage.backlog import spool_folder
from keys.usage.rows import Row
from keys.usage.spool import quarantine

logger = logging.getLogger(__name__)

_contradictions = 0


def report(settlements: Sequence[Row]) -> None:
    """Log the settlements, and quarantine those that differ from the one that counts. Raise nothing.

    A settlement is repeated when the connection failed during the commit, or when two processes replay it.
    """
    try:
        _report(settlements)
    except Exception:  # the transaction is committed, and must not be written again
        logger.exception("Ledger: dropped settlements: %s", b"\n".join(map(rows.to_json, settlements)).decode())


def _report(settlements: Sequence[Row]) -> None:
    global _contradictions
    stored = UsageRecord.objects.filter(pk__in=[row["id"] for row in settlements])
    settled_at = dict(stored.values_list("pk", "settled_at"))
    different = [row for row in settlements if settled_at.get(row["id"]) != row["settled_at"]]
    if len(different) < len(settlements):
        logger.info("Ledger: %d settlements were committed before", len(settlements) - len(different))
    if different:
        _contradictions += len(different)
        reason = f"their requests are settled otherwise already ({_contradictions} in this process)"
        quarantine(spool_folder(), [rows.to_json(row) for row in different], reason=reason)
