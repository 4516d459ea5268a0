"""Comparison of three accounts of the same requests: the upstream's log, the ledger and the clients' results."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.soak.clients import ClientResult
from tests.soak.host import Installation, Row

CLOCK_S = 0.05


@dataclass
class ScenarioRun:
    """Results of one run of a scenario: its figures and the broken promises."""

    figures: dict[str, Any] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    lag_s: float = 0.0
    """The maximum delay of the clients' clock: the share of a busy machine in every duration."""

    def expect(self, promise: str, is_kept: object) -> None:
        """Add the promise to the broken ones unless it is kept. Its text is used in the report."""
        if not is_kept:
            self.broken.append(promise)

    def expect_within(self, limit_s: float, promise: str, took_s: float) -> None:
        """Check a promise about a duration, without the lag of the machine."""
        self.expect(f"{promise} within {limit_s:g} s", took_s <= limit_s + self.lag_s)

    async def watch_the_clock(self) -> None:
        """Measure `lag_s` during the scenario."""
        while True:
            due_at = time.monotonic() + CLOCK_S
            await asyncio.sleep(CLOCK_S)
            self.lag_s = max(self.lag_s, time.monotonic() - due_at)


def play(scenario: Callable[[ScenarioRun], Coroutine[Any, Any, None]]) -> ScenarioRun:
    """Run a scenario, which adds its results to the run."""

    async def watched() -> None:
        clock = asyncio.create_task(run.watch_the_clock())
        await scenario(run)
        clock.cancel()

    run = ScenarioRun()
    asyncio.run(watched())
    return run


class Accounts:
    """The current accounts of one installation."""

    def __init__(self, installation: Installation, results: Iterable[ClientResult]) -> None:
        self.results = {result.id: result for result in results}
        self.served = {
            request.id: request for request in installation.upstream.requests() if request.id in self.results
        }
        self._rows = [row for row in installation.ledger() if row["client_request_id"] in self.results]
        self.rows: dict[str, Row] = {row["client_request_id"]: row for row in self._rows}

    def status(self, id: str) -> str:
        """Return the status of a request in the ledger, or `missing`."""
        row = self.rows.get(id)
        return row["status"] if row else "missing"

    @property
    def statuses(self) -> dict[str, int]:
        return dict(Counter(row["status"] for row in self._rows).most_common())

    @property
    def missing(self) -> list[str]:
        """Requests that the upstream received and the ledger does not have."""
        return sorted(self.served.keys() - self.rows.keys())

    @property
    def unexpected(self) -> list[str]:
        """Requests with usage in the ledger that the upstream did not receive."""
        with_usage = {id for id, row in self.rows.items() if row["usage_source"] != "none"}
        return sorted(with_usage - self.served.keys())

    @property
    def duplicates(self) -> list[str]:
        """Requests with more than one usage record."""
        return [id for id, count in Counter(row["client_request_id"] for row in self._rows).items() if count > 1]

    @property
    def lost(self) -> list[str]:
        """Requests whose client received the complete response and that are not completed in the ledger."""
        return [id for id, result in self.results.items() if result.is_done and self.status(id) != "completed"]

    def balance(self, run: ScenarioRun) -> None:
        """Check what must be true after every scenario."""
        run.figures |= {
            "lag of the machine": f"{run.lag_s:.2f} s",
            "requests": len(self.results),
            "at the upstream": len(self.served),
            "usage records": self.statuses,
            "missing": len(self.missing),
            "duplicates": len(self.duplicates),
            "finished but not completed": len(self.lost),
        }
        run.expect("every request at the upstream has a usage record", not self.missing)
        run.expect("no usage record has usage without a request at the upstream", not self.unexpected)
        run.expect("no request has two usage records", not self.duplicates)
        run.expect("a request whose client received the complete response is completed", not self.lost)
        run.expect("no usage record stays open", self.statuses.get("started", 0) == 0)
