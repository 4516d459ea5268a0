"""Scenario: the clock of the gateway's machine steps by an hour, forward and back, while requests are in flight."""

import asyncio
import tempfile
import time
from pathlib import Path

from tests.soak.accounts import Accounts, ScenarioRun, play
from tests.soak.clients import ClientResult
from tests.soak.host import Host, Installation
from tests.soak.request_plan import RequestPlan
from tests.support.stepped_clock import READ_EVERY_S, SteppedClock

HOUR_S = 3600
STEPS = (HOUR_S, 0, -HOUR_S, 0)
SETTLED_WITHIN_S = 30


def run(host: Host, *, between_s: float, requests_per_s: int, streams: int) -> ScenarioRun:
    """Step the clock by +1 h, -1 h, -1 h and +1 h. Raise FaketimeMissing without libfaketime."""
    with tempfile.TemporaryDirectory() as folder:
        clock = SteppedClock(Path(folder))
        with host.installation(sqlite=False, CONFIG_CACHE_TTL_S="1", **clock.environment) as installation:
            return play(lambda run: _run(run, installation, clock, between_s, requests_per_s, streams))


async def _run(
    run: ScenarioRun,
    installation: Installation,
    clock: SteppedClock,
    between_s: float,
    requests_per_s: int,
    streams: int,
) -> None:
    over = asyncio.Event()
    tasks = [asyncio.create_task(_requests(installation, requests_per_s, over))]
    offsets = [_offset(installation)]
    for number, offset_s in enumerate(STEPS):
        # Streams that last across the step.
        plans = [
            RequestPlan(id=f"stream-{number}-{n:04d}", events=8, every_s=between_s / 4, streamed=n % 4 != 0)
            for n in range(streams)
        ]
        tasks.append(asyncio.create_task(_all(installation, plans)))
        await asyncio.sleep(between_s)
        clock.step_to(offset_s)
        await asyncio.sleep(READ_EVERY_S + between_s)
        offsets.append(_offset(installation))
    over.set()
    results = [result for results in await asyncio.gather(*tasks) for result in results]
    await installation.all_settled(within_s=SETTLED_WITHIN_S)

    accounts = Accounts(installation, results)
    accounts.balance(run)
    statuses = sorted({str(result.status) for result in results})
    run.figures |= {
        "clock of the records, in minutes": ", ".join(f"{offset_s / 60:+.0f}" for offset_s in offsets),
        "statuses": ", ".join(statuses),
        "interrupted, then settled late": sum(row["interruption"] is not None for row in installation.ledger()),
        "workers": len(installation.gateway.worker_pids()),
    }
    run.expect("the clock of the gateway steps", [round(offset / HOUR_S) for offset in offsets] == [0, 1, 0, -1, 0])
    run.expect("every request gets a complete response", all(result.is_done for result in results))
    run.expect("no request is rejected", statuses == ["200"])
    run.expect("every record is completed", set(accounts.statuses) == {"completed"})


def _offset(installation: Installation) -> float:
    """Return the gateway's clock minus the machine's, from the record of the latest request; 0 without one."""
    sent = [row for row in installation.ledger() if row["client_request_id"].startswith("request-")]
    latest = max(sent, key=lambda row: row["client_request_id"], default=None)
    return latest["created_at"].timestamp() - time.time() if latest else 0.0


async def _requests(installation: Installation, per_s: int, over: asyncio.Event) -> list[ClientResult]:
    """Send requests at a constant rate until it is over."""
    sent: list[asyncio.Task[ClientResult]] = []
    while not over.is_set():
        plan = RequestPlan(id=f"request-{len(sent):05d}", streamed=len(sent) % 2 == 0)
        sent.append(asyncio.create_task(installation.send(plan, key=len(sent) % len(installation.keys))))
        await asyncio.sleep(1 / per_s)
    return list(await asyncio.gather(*sent))


async def _all(installation: Installation, plans: list[RequestPlan]) -> list[ClientResult]:
    return list(await asyncio.gather(*(installation.send(plan) for plan in plans)))
