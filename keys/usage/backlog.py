"""What the ledger's writer keeps for its process: a boot id, rows that wait, and when a secret was last noted."""

import json
import logging
import os
import secrets
import time
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings

from keys.usage import rows
from keys.usage.rows import Row
from keys.usage.spool import Spool
from lib.once_per_process import OncePerProcess

logger = logging.getLogger(__name__)

LAST_USE_EVERY = timedelta(minutes=5)  # one write a call would queue all calls of a key on one row lock


class Backlog:
    """What the writer keeps for its process: its boot id, its spool, and when it last noted a secret's use."""

    def __init__(self) -> None:
        self._opened = OncePerProcess(self._open)
        self._last_use: dict[int, datetime] = {}
        self._kept: list[Row] = []
        """Rows on their way to the spool. They stay here while the disk does not take them."""
        self._is_disk_away = False

    def open(self) -> None:
        """Create the boot id and the spool of this process unless it has them."""
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

    def last_use_is_due(self, secret_id: int, used_at: datetime) -> bool:
        """Whether this process has not noted the secret's use for five minutes. Spares an idle UPDATE."""
        noted = self._last_use.get(secret_id)
        if noted is not None and used_at - noted < LAST_USE_EVERY:
            return False
        self._last_use[secret_id] = used_at
        return True

    def keep(self, row: Row) -> None:
        """Take a row that the database does not take. `secure` brings it to the disk."""
        self._kept.append(rows.to_json(row))

    def secure(self) -> None:
        """Bring what is kept to the spool. What the disk does not take stays in memory: as many rows as calls ran."""
        if not self._kept:
            return
        try:
            self.spool.append(self._kept)
        except OSError as error:
            if not self._is_disk_away:
                logger.critical("Neither database nor disk take the ledger's rows: they wait in memory (%s)", error)
            self._is_disk_away = True
            return
        if self._is_disk_away:
            logger.warning("The disk takes the ledger's rows again: %d left the memory", len(self._kept))
        self._is_disk_away = False
        self._kept.clear()

    def waiting(self) -> list[Row]:
        """What waits in the spool and in memory."""
        return [*([] if self.spool.is_empty() else self.spool.rows()), *self._kept]

    def forget(self) -> None:
        """What waited is committed."""
        self.spool.clear()
        self._kept.clear()
        self._is_disk_away = False

    def close(self) -> None:
        if not self._opened.is_started:
            return
        self.secure()
        for row in self._kept:
            # Its counts stand here and nowhere else. The next worker settles the row as orphaned.
            logger.critical("Neither database nor disk took this row: %s", json.dumps(row))
        self._kept.clear()
        self._spool.close()
        self._opened.reset()


def spool_folder() -> Path:
    return Path(settings.STATE_DIR) / "spool"
