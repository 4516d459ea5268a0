"""
The last report about the other processes: how many workers run on all machines, and which slots are in use.

Each worker reports to Redis once per second. While Redis is unavailable, a worker counts from the last report.
Redis has an epoch, which changes when it loses its data: until all workers have renewed their slots, it counts too few.
"""

import time
from collections.abc import Callable, Mapping

from django.conf import settings

from keys.limits.scripts import PREFIX, Script
from lib.shared_store import SharedStore

WORKERS, EPOCH, SLOTS = (f"{PREFIX}{name}" for name in ("workers", "epoch", "slots"))
REPORT_LIFE_S = 15.0
UNCERTAIN_S = 2.5
"""Time after which each worker has noticed that Redis lost its data or recovered, and has renewed its slots."""

_script = Script("presence.lua")


class Presence:
    """The other workers, as Redis described them. `on_loss` is called when Redis seems to have lost its data."""

    def __init__(self, store: SharedStore, *, on_loss: Callable[[], None] = lambda: None) -> None:
        self._store = store
        self._on_loss = on_loss
        self._epoch: int | None = None
        self._lost_at: float | None = None
        self._workers = 0
        self._rank = 0

    @property
    def workers(self) -> int:
        """Workers that share the limits: those of all machines, as far as known; else those of this machine."""
        return max(int(settings.WEB_CONCURRENCY), self._workers)

    @property
    def rank(self) -> int:
        """The number of this worker among them, from 0, for what cannot be divided evenly."""
        return self._rank

    @property
    def is_after_outage(self) -> bool:
        """Whether other workers may not have renewed yet the slots of an outage."""
        recovered_at = self._store.recovered_at
        return recovered_at is not None and time.monotonic() - recovered_at < UNCERTAIN_S

    @property
    def is_uncertain(self) -> bool:
        """Whether Redis may not know yet of all in-flight requests."""
        has_lost = self._lost_at is not None and time.monotonic() - self._lost_at < UNCERTAIN_S
        return has_lost or self.is_after_outage

    def observe(self, epoch: int) -> None:
        """Compare the epoch in a reply with the known one. 0: Redis has none."""
        if self._epoch is None or epoch == self._epoch:
            return
        if epoch:
            self._epoch = epoch
        self._lost_at = time.monotonic()
        self._on_loss()

    def report(self, worker: str) -> Mapping[str, int] | None:
        """Report that this worker runs. Return the concurrency limits in use with their slots.

        Return None if Redis did not respond, or may not know of all in-flight requests.
        """
        arguments = [3, WORKERS, EPOCH, SLOTS, worker, round(REPORT_LIFE_S * 1000), f"{PREFIX}limit:"]
        replies = _script.run(self._store, [arguments])
        if replies is None:
            return None
        try:
            epoch, workers, rank, *slots = replies[0]
            used = {str(name): int(count) for name, count in zip(slots[::2], slots[1::2], strict=True)}
            self._workers, self._rank = int(workers), int(rank)
            epoch = int(float(epoch))
        except (TypeError, ValueError, OverflowError):
            return None
        if self._epoch is None:
            self._epoch = epoch
        self.observe(epoch)
        return None if self.is_uncertain else used

    def withdraw(self, worker: str) -> None:
        """Report that this worker ends."""
        self._store.send("ZREM", WORKERS, worker)
