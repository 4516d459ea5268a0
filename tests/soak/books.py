"""Three accounts of the same calls, held against each other: the upstream's log, the ledger, and what callers saw."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.soak.callers import Visit
from tests.soak.site import Installation, Row

CLOCK_S = 0.05


@dataclass
class Run:
    """What one run of a scenario found: its figures, and every promise that it saw broken."""

    figures: dict[str, Any] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    lag_s: float = 0.0
    """How late the callers' own clock rang, at most: what a busy machine takes from everybody is nobody's fault."""

    def expect(self, promise: str, reservations: object) -> None:
        """Note a promise that was broken. It is written in the report as it stands here."""
        if not reservations:
            self.broken.append(promise)

    def expect_within(self, limit_s: float, promise: str, took_s: float) -> None:
        """The same for one that is about time, of which the machine's share is taken off."""
        self.expect(f"{promise} within {limit_s:g} s", took_s <= limit_s + self.lag_s)

    async def watch_the_clock(self) -> None:
        """Measure `lag_s` for as long as the scenario goes on."""
        while True:
            rings_at = time.monotonic() + CLOCK_S
            await asyncio.sleep(CLOCK_S)
            self.lag_s = max(self.lag_s, time.monotonic() - rings_at)


def play(scene: Callable[[Run], Coroutine[Any, Any, None]]) -> Run:
    """Run a scene, which notes what it finds."""

    async def watched() -> None:
        clock = asyncio.create_task(run.watch_the_clock())
        await scene(run)
        clock.cancel()

    run = Run()
    asyncio.run(watched())
    return run


class Books:
    """The accounts of one installation, as they stand now."""

    def __init__(self, installation: Installation, visits: Iterable[Visit]) -> None:
        self.visits = {visit.id: visit for visit in visits}
        self.served = {call.id: call for call in installation.upstream.calls() if call.id in self.visits}
        self._rows = [row for row in installation.ledger() if row["client_request_id"] in self.visits]
        self.rows: dict[str, Row] = {row["client_request_id"]: row for row in self._rows}

    def status(self, id: str) -> str:
        """How the ledger says that a call ended, or `missing`."""
        row = self.rows.get(id)
        return row["status"] if row else "missing"

    @property
    def statuses(self) -> dict[str, int]:
        return dict(Counter(row["status"] for row in self._rows).most_common())

    @property
    def missing(self) -> list[str]:
        """Calls that the upstream has seen and the ledger has not."""
        return sorted(self.served.keys() - self.rows.keys())

    @property
    def unasked(self) -> list[str]:
        """Calls that have used something, says the ledger, and of which the upstream knows nothing."""
        asked = {id for id, row in self.rows.items() if row["usage_source"] != "none"}
        return sorted(asked - self.served.keys())

    @property
    def duplicates(self) -> list[str]:
        """Calls with more than one row."""
        return [id for id, count in Counter(row["client_request_id"] for row in self._rows).items() if count > 1]

    @property
    def lost(self) -> list[str]:
        """Calls whose caller has seen the end, and of which the ledger says something else."""
        return [id for id, visit in self.visits.items() if visit.is_done and self.status(id) != "completed"]

    def balance(self, run: Run) -> None:
        """What must be true after every scenario."""
        run.figures |= {
            "lag of the machine": f"{run.lag_s:.2f} s",
            "calls": len(self.visits),
            "asked of the upstream": len(self.served),
            "rows": self.statuses,
            "missing": len(self.missing),
            "twice": len(self.duplicates),
            "finished but not completed": len(self.lost),
        }
        run.expect("every call that the upstream saw has a row", not self.missing)
        run.expect("no row says that something was used where the upstream was not asked", not self.unasked)
        run.expect("no call has two rows", not self.duplicates)
        run.expect("a call whose caller has seen its end is completed", not self.lost)
        run.expect("no row stays open", self.statuses.get("started", 0) == 0)
