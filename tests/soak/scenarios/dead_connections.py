"""Scenario: connections that send nothing, dribble a head or read no response, beside requests that are served."""

import asyncio
import time
from contextlib import ExitStack

from tests.attacks.dead_connections import KINDS, Flood
from tests.soak.accounts import Accounts, ScenarioRun, play
from tests.soak.clients import ClientResult, HealthCheck, check_health
from tests.soak.host import Host, Installation
from tests.soak.request_plan import RequestPlan

DEAD = ("silent", "dribbled head", "unread static file", "page without its body", "API request without its body")
RESPONDS_WITHIN_S = 1.0


def run(host: Host, *, connections: int, requests_per_s: int, seconds: float) -> ScenarioRun:
    """Open dead connections of each kind, in equal parts, and send requests meanwhile."""
    with host.installation() as installation:
        return play(lambda run: _run(run, installation, connections, requests_per_s, seconds))


async def _run(
    run: ScenarioRun, installation: Installation, connections: int, requests_per_s: int, seconds: float
) -> None:
    await installation.send(RequestPlan(id="warm"))
    with ExitStack() as floods:
        for kind in DEAD:
            flood = Flood(installation.port, KINDS[kind], connections // len(DEAD))
            await asyncio.to_thread(floods.enter_context, flood)
        results, checks = await asyncio.gather(
            _requests(installation, requests_per_s, seconds), _check_health(installation.port, seconds)
        )
    await installation.all_settled(within_s=10)

    accounts = Accounts(installation, results)
    accounts.balance(run)
    slowest = max(check.took_s for check in checks)
    latencies = sorted(result.took_s for result in results)
    run.figures |= {
        "dead connections": connections,
        "slowest health check": f"{slowest:.2f} s",
        "requests, median and slowest": f"{latencies[len(latencies) // 2]:.2f}, {latencies[-1]:.2f} s",
    }
    run.expect("every request gets a complete response", all(result.is_done for result in results))
    run.expect("every health check gets a response", all(check.status == 200 for check in checks))
    run.expect_within(RESPONDS_WITHIN_S, "a health check gets its response", slowest)
    run.expect_within(RESPONDS_WITHIN_S, "a request gets its response", latencies[-1])


async def _requests(installation: Installation, per_s: int, seconds: float) -> list[ClientResult]:
    count = int(per_s * seconds)
    plans = [RequestPlan(id=f"request-{n:05d}", streamed=n % 2 == 0) for n in range(count)]
    return await asyncio.gather(
        *(installation.send(plan, after_s=n / per_s, key=n % len(installation.keys)) for n, plan in enumerate(plans))
    )


async def _check_health(port: int, seconds: float) -> list[HealthCheck]:
    over_at = time.monotonic() + seconds
    checks = []
    while time.monotonic() < over_at:
        checks.append(await check_health(port, "/livez"))
        await asyncio.sleep(0.2)
    return checks
