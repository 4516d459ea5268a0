"""Per-process state of the ledger: boot ID, spool, uncommitted rows, open requests and last-used timestamps."""

import logging
import os
import secrets
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path

from django.conf import settings

from keys.usage import rows
from keys.usage.rows import Row
from keys.usage.spool import Spool
from lib.threads import OncePerProcess

logger = logging.getLogger(__name__)

LAST_USED_INTERVAL = timedelta(minutes=5)  # a write per request would queue all requests of a key on one row lock


class Backlog:
    """What the writer of one process has not committed yet. Reinitialized after fork."""

    def __init__(self) -> None:
        self._opened = OncePerProcess(self._open)
        self._last_used: dict[int, datetime] = {}
        self._unspooled: list[bytes] = []
        """Rows that are not in the spool yet, such as while the disk is full."""
        self._is_disk_unavailable = False
        self._leases: dict[str, float] = {}
        """When the leases of this process's open requests end, by request ID. Monotonic: the clock may be set."""

    def open(self) -> None:
        """Create the boot ID and the spool of this process unless it has them."""
        self._opened.ensure()

    @property
    def boot_id(self) -> str:
        self._opened.ensure()
        return self._boot_id

    @property
    def spool(self) -> Spool:
        self._opened.ensure()
        return self._spool

    def _open(self) -> None:
        # Two processes must never share them.
        self._boot_id = f"{time.time_ns() // 1_000_000:x}-{os.getpid()}-{secrets.token_hex(4)}"
        self._spool = Spool(spool_folder(), self._boot_id)
        self._leases = {}

    # ---- Open requests and uses of secrets.

    def begin_request(self, id: str, *, lease_s: float) -> None:
        """Note an admitted request. Other processes leave it to this one to find it orphaned."""
        self._leases[id] = time.monotonic() + lease_s

    def end_request(self, id: str) -> None:
        """Note that a request is settled. May be called twice."""
        self._leases.pop(id, None)

    def expired_requests(self) -> list[str]:
        """Return the open requests whose lease has ended: a defect kept them from being settled."""
        now = time.monotonic()
        return [id for id, ends_at in list(self._leases.items()) if ends_at < now]

    def should_write_last_used(self, secret_id: int, used_at: datetime) -> bool:
        """Return whether this process has not written the secret's last use for five minutes. Saves a no-op UPDATE."""
        written = self._last_used.get(secret_id)
        if written is not None and used_at - written < LAST_USED_INTERVAL:
            return False
        self._last_used[secret_id] = used_at
        return True

    # ---- Rows that are not committed.

    def add(self, row: Row) -> None:
        """Add a row that could not be committed. `flush_to_spool` writes it to disk."""
        self._unspooled.append(rows.to_json(row))

    def flush_to_spool(self) -> None:
        """Write the rows in memory to the spool.

        Rows stay in memory while the disk is unavailable: at most as many as there are in-flight requests.
        """
        if not self._unspooled:
            return
        try:
            self.spool.append(self._unspooled)
        except OSError as error:
            if not self._is_disk_unavailable:
                logger.critical("Ledger: database and spool unavailable; buffering rows in memory (%s)", error)
            self._is_disk_unavailable = True
            return
        if self._is_disk_unavailable:
            logger.warning("Ledger: spool available again; %d buffered rows written", len(self._unspooled))
        self._is_disk_unavailable = False
        self._unspooled.clear()

    def has_pending(self) -> bool:
        return bool(self._unspooled) or not self.spool.is_empty()

    def pending(self) -> Iterator[bytes]:
        """Yield the rows in the spool and in memory."""
        return chain(() if self.spool.is_empty() else self.spool.lines(), list(self._unspooled))

    def clear(self) -> None:
        """Forget the pending rows, once they are committed."""
        self.spool.clear()
        self._unspooled.clear()
        self._is_disk_unavailable = False

    def close(self) -> None:
        """Flush and close the spool. May be called twice."""
        if not self._opened.is_started:
            return
        self.flush_to_spool()
        for line in self._unspooled:
            # The log is the only place left for its counts. The next worker settles the row as interrupted.
            logger.critical("Ledger: database and spool unavailable; unwritten row: %s", line.decode())
        self._unspooled.clear()
        self._spool.close()
        self._opened.reset()


def spool_folder() -> Path:
    return Path(settings.STATE_DIR) / "spool"


backlog = Backlog()
