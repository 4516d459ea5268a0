"""Scenario: `kill -9` of one of two workers during its streams."""

import asyncio
import os
import random
import signal
import time

from tests.soak.accounts import Accounts, ScenarioRun, play
from tests.soak.host import Host, Installation
from tests.soak.request_plan import RequestPlan

ORPHANED_WITHIN_S = 30.0


def run(host: Host, *, streams: int, ramp_s: float, shortest: int, longest: int) -> ScenarioRun:
    """Open streams of one event per second within `ramp_s`, and kill a worker when about half of them have ended."""
    with host.installation(WEB_CONCURRENCY="2") as installation:
        return play(lambda run: _run(run, installation, streams, ramp_s, shortest, longest))


async def _run(
    run: ScenarioRun, installation: Installation, streams: int, ramp_s: float, shortest: int, longest: int
) -> None:
    plans = [
        RequestPlan(id=f"stream-{number:05d}", events=random.randint(shortest, longest), every_s=1.0)
        for number in range(streams)
    ]
    results = [
        asyncio.create_task(installation.send(plan, after_s=number * ramp_s / streams))
        for number, plan in enumerate(plans)
    ]
    await asyncio.sleep((ramp_s + shortest + longest) / 2)

    victim = max(installation.gateway.worker_pids(), key=_open_files)  # few streams are distributed unevenly
    killed_at = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    cut = [result.id for result in await asyncio.gather(*results) if result.connection_error]
    await installation.all_settled(within_s=ORPHANED_WITHIN_S)

    accounts = Accounts(installation, (task.result() for task in results))
    accounts.balance(run)
    settled_s = [(accounts.rows[id]["settled_at"].timestamp() - _wall(killed_at)) for id in cut if id in accounts.rows]
    run.figures |= {
        "finished": sum(result.is_done for result in accounts.results.values()),
        "cut by the kill": len(cut),
        "interrupted": sum(accounts.status(id) == "interrupted" for id in cut),
        "last orphaned record settled after": f"{max(settled_s, default=0):.1f} s",
    }
    run.expect("the kill cut streams", len(cut) > streams / 10)
    run.expect("cut streams are interrupted, or were settled before", _are_accounted_for(accounts, cut))
    run.expect_within(ORPHANED_WITHIN_S, "orphaned records are settled", max(settled_s, default=0))
    run.expect("the other worker's streams complete", _others_finished(accounts, cut))


def _open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def _wall(monotonic: float) -> float:
    return time.time() - (time.monotonic() - monotonic)


def _are_accounted_for(accounts: Accounts, cut: list[str]) -> bool:
    return all(accounts.status(id) in ("interrupted", "completed") for id in cut)


def _others_finished(accounts: Accounts, cut: list[str]) -> bool:
    return all(result.is_done for result in accounts.results.values() if result.id not in cut)
