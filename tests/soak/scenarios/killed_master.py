"""Scenario: `kill -9` of the master. Its workers shut down gracefully, and a new master takes over the port."""

import asyncio
import signal
import time
from pathlib import Path

from tests.soak.accounts import Accounts, ScenarioRun, play
from tests.soak.clients import check_health
from tests.soak.host import Host, Installation
from tests.soak.request_plan import RequestPlan

NOTICED_WITHIN_S = 3.0
SERVES_AGAIN_WITHIN_S = 15.0


def run(host: Host, *, streams: int, ramp_s: float) -> ScenarioRun:
    """Kill the master during open streams, start another one immediately, and send it a request."""
    with host.installation(WEB_CONCURRENCY="2") as installation:
        return play(lambda run: _run(run, installation, streams, ramp_s))


async def _run(run: ScenarioRun, installation: Installation, streams: int, ramp_s: float) -> None:
    plans = [RequestPlan(id=f"stream-{number:05d}", events=600, every_s=1.0) for number in range(streams)]
    results = [
        asyncio.create_task(installation.send(plan, after_s=number * ramp_s / streams))
        for number, plan in enumerate(plans)
    ]
    await asyncio.sleep(ramp_s + 3)
    workers = installation.gateway.worker_pids()

    killed_at = time.monotonic()
    installation.gateway.stop(with_signal=signal.SIGKILL)
    await asyncio.to_thread(installation.gateway.start)  # returns immediately if an old worker still responds
    while not installation.gateway.worker_pids() or (await check_health(installation.port, "/readyz")).status != 200:
        await asyncio.sleep(0.1)
    serves_again_s = time.monotonic() - killed_at
    ended = await asyncio.gather(*results)
    after = await installation.send(RequestPlan(id="after"))
    await installation.all_settled(within_s=30)

    accounts = Accounts(installation, [*ended, after])
    accounts.balance(run)
    informed = [result for result in ended if result.error_type == "overloaded_error" and not result.connection_error]
    last_error_s = max(result.ended_at for result in ended) - killed_at
    run.figures |= {
        "streams with an error": len(informed),
        "last error after": f"{last_error_s:.1f} s",
        "serves again after": f"{serves_again_s:.1f} s",
        "old workers still running": sum(map(_is_running, workers)),
    }
    run.expect("every open stream ends with an error and without [DONE]", len(informed) == streams)
    run.expect_within(NOTICED_WITHIN_S, "the workers shut down", last_error_s)
    run.expect_within(SERVES_AGAIN_WITHIN_S, "a new master serves", serves_again_s)
    run.expect("the new master serves", after.is_done)
    run.expect("the old workers have ended", not any(map(_is_running, workers)))


def _is_running(pid: int) -> bool:
    """Whether a process is running. A zombie is listed until its parent reads its exit status."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
