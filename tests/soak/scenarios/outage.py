"""Scenarios: PostgreSQL is stopped or frozen under load. No request waits or is lost, and the gateway recovers."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable

from tests.soak.accounts import Accounts, ScenarioRun, play
from tests.soak.clients import ClientResult, HealthCheck, check_health
from tests.soak.host import Host, Installation
from tests.soak.request_plan import RequestPlan

BEFORE_S = 2.0
AFTER_S = 2.0  # observation after requests succeed again
MAX_LATENCY_S = 2.0
RECOVERED_WITHIN_S = 5.0
CHECK_INTERVAL_S = 0.5


def stopped(host: Host, *, outage_s: float, requests_per_s: int, streams: int) -> ScenarioRun:
    """Stop the server and start a new one."""
    return _outage(host, host.postgres.stop, host.postgres.start, outage_s, requests_per_s, streams)


def frozen(host: Host, *, outage_s: float, requests_per_s: int, streams: int) -> ScenarioRun:
    """Freeze the server: it keeps listening, connections stay open, and nothing responds."""
    try:
        return _outage(host, host.postgres.freeze, host.postgres.thaw, outage_s, requests_per_s, streams)
    finally:
        host.postgres.thaw()


def _outage(
    host: Host,
    take_down: Callable[[], None],
    bring_up: Callable[[], None],
    outage_s: float,
    requests_per_s: int,
    streams: int,
) -> ScenarioRun:
    with host.installation() as installation:
        return play(lambda run: _run(run, installation, take_down, bring_up, outage_s, requests_per_s, streams))


async def _run(
    run: ScenarioRun,
    installation: Installation,
    take_down: Callable[[], None],
    bring_up: Callable[[], None],
    outage_s: float,
    requests_per_s: int,
    streams: int,
) -> None:
    over = asyncio.Event()
    open_streams = [asyncio.create_task(installation.send(plan)) for plan in _streams(streams, outage_s)]
    requests = asyncio.create_task(_requests(installation, requests_per_s, over))
    checks = [asyncio.create_task(_check_health(installation.port, path, over)) for path in ("/livez", "/readyz")]
    workers = installation.gateway.worker_pids()
    await asyncio.sleep(BEFORE_S)

    stopping_at = time.monotonic()
    await asyncio.to_thread(take_down)
    down_at = time.monotonic()
    await asyncio.sleep(outage_s)
    starting_at = time.monotonic()
    await asyncio.to_thread(bring_up)
    up_at = time.monotonic()
    await _serves_again(installation)
    await asyncio.sleep(AFTER_S)
    over.set()
    streamed = await asyncio.gather(*open_streams)
    plain = await requests
    alive, ready = await asyncio.gather(*checks)
    await installation.all_settled(within_s=10)

    accounts = Accounts(installation, [*streamed, *plain])
    accounts.balance(run)
    meanwhile = [result for result in plain if down_at < result.sent_at < starting_at - MAX_LATENCY_S]
    _expect_of_requests(run, plain, meanwhile)
    recovered_s = _first_success_after(plain, up_at)
    run.figures |= {
        "completed streams": f"{sum(result.is_done for result in streamed)} of {streams}",
        "slowest check of /livez": f"{max(one.took_s for one in alive):.2f} s",
        "first success after its return": f"{recovered_s:.1f} s",
        "stop, start": f"{down_at - stopping_at:.1f} s, {up_at - starting_at:.1f} s",
    }
    run.expect("in-flight streams complete", all(result.is_done for result in streamed))
    run.expect("liveness never fails", all(one.status == 200 for one in alive))
    run.expect("readiness fails", _is_unready(ready, down_at + 2 * MAX_LATENCY_S, starting_at))
    run.expect_within(RECOVERED_WITHIN_S, "after its return, requests succeed", recovered_s)
    run.expect("no worker was restarted", installation.gateway.worker_pids() == workers)


async def _serves_again(installation: Installation) -> None:
    """Wait until a request succeeds, with a generous timeout."""
    deadline = time.monotonic() + 3 * RECOVERED_WITHIN_S
    number = 0
    while (await installation.send(RequestPlan(id=f"again-{number}"))).status != 200 and time.monotonic() < deadline:
        number += 1
        await asyncio.sleep(0.1)


def _expect_of_requests(run: ScenarioRun, plain: list[ClientResult], meanwhile: list[ClientResult]) -> None:
    statuses = Counter(str(result.status or result.connection_error) for result in plain)
    slowest = max(plain, key=lambda result: result.took_s)
    rejected = [result for result in plain if result.status == 503]
    run.figures |= {
        "responses": dict(statuses.most_common()),
        "responses during the outage": dict(
            Counter(str(result.status or result.connection_error) for result in meanwhile)
        ),
        "slowest response": f"{slowest.took_s:.2f} s",
        "median of the rejections": f"{sorted(result.took_s for result in rejected)[len(rejected) // 2]:.3f} s",
    }
    run.expect("every response is 200 or 503", statuses.keys() <= {"200", "503"})
    run.expect("no request is admitted during the outage", all(result.status == 503 for result in meanwhile))
    run.expect("every 503 has a retry-after", all(result.retry_after for result in rejected))
    run.expect_within(MAX_LATENCY_S, "every request has a response", slowest.took_s)


def _streams(count: int, outage_s: float) -> list[RequestPlan]:
    """Return streams that start before the outage. One half ends during it, the other after it."""
    ends_s = [BEFORE_S + outage_s * (0.2 + 1.2 * number / count) for number in range(count)]
    return [RequestPlan(id=f"stream-{n:04d}", events=int(end_s * 2), every_s=0.5) for n, end_s in enumerate(ends_s)]


async def _requests(installation: Installation, per_s: int, over: asyncio.Event) -> list[ClientResult]:
    """Send plain requests with all API keys in turn, at a fixed rate."""
    tasks: list[asyncio.Task[ClientResult]] = []
    started_at = time.monotonic()
    while not over.is_set():
        plan = RequestPlan(id=f"plain-{len(tasks):05d}", streamed=False)
        tasks.append(asyncio.create_task(installation.send(plan, key=len(tasks) % len(installation.keys))))
        await asyncio.sleep(started_at + len(tasks) / per_s - time.monotonic())
    return await asyncio.gather(*tasks)


async def _check_health(port: int, path: str, over: asyncio.Event) -> list[HealthCheck]:
    found: list[HealthCheck] = []
    while not over.is_set():
        found.append(await check_health(port, path))
        await asyncio.sleep(CHECK_INTERVAL_S)
    return found


def _is_unready(ready: list[HealthCheck], from_: float, until: float) -> bool:
    meanwhile = [one for one in ready if from_ < one.at and one.at + one.took_s < until]
    return bool(meanwhile) and all(one.status == 503 for one in meanwhile)


def _first_success_after(plain: list[ClientResult], moment: float) -> float:
    return min((v.ended_at - moment for v in plain if v.status == 200 and v.sent_at > moment), default=float("inf"))
