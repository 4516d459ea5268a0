"""Scenario: SIGTERM during open streams. Short ones complete, long ones end with an error, nothing is reset."""

import asyncio
import random
import signal
import time

from tests.soak.accounts import Accounts, ScenarioRun, play
from tests.soak.clients import ClientResult, HealthCheck, check_health
from tests.soak.host import Host, Installation
from tests.soak.request_plan import RequestPlan

END_MARGIN_S = 5  # the part of the graceful timeout for error events, settlements and the exit
NOT_READY_WITHIN_S = 0.5


def run(host: Host, *, streams: int, ramp_s: float, grace_s: int, requests_per_s: int) -> ScenarioRun:
    """Open streams, half of them shorter than the drain, and send plain requests until after the signal."""
    with host.installation(WEB_CONCURRENCY="2", GRACEFUL_TIMEOUT_S=str(grace_s)) as installation:
        return play(lambda run: _run(run, installation, streams, ramp_s, grace_s, requests_per_s))


async def _run(
    run: ScenarioRun, installation: Installation, streams: int, ramp_s: float, grace_s: int, requests_per_s: int
) -> None:
    begins = [number * ramp_s / streams for number in range(streams)]
    signal_after_s = ramp_s + 2
    plans = [
        _long(number) if number % 2 else _short(number, signal_after_s - begins[number], grace_s - END_MARGIN_S)
        for number in range(streams)
    ]
    results = [
        asyncio.create_task(installation.send(plan, after_s=after_s))
        for plan, after_s in zip(plans, begins, strict=True)
    ]
    await asyncio.sleep(signal_after_s - 1)
    end_of_requests = asyncio.Event()
    requests = asyncio.create_task(_requests(installation, requests_per_s, end_of_requests))
    checks = asyncio.create_task(_check_health(installation.port, end_of_requests))
    await asyncio.sleep(1)

    signaled_at = time.monotonic()
    status = await asyncio.to_thread(installation.gateway.stop, with_signal=signal.SIGTERM, within_s=grace_s + 5.0)
    took_s = time.monotonic() - signaled_at
    end_of_requests.set()
    ended = {result.id: result for result in await asyncio.gather(*results)}
    plain = await requests

    accounts = Accounts(installation, [*ended.values(), *plain])
    accounts.balance(run)
    short, long = ([ended[plan.id] for plan in plans if plan.id.startswith(kind)] for kind in ("short", "long"))
    completed = [result for result in short if result.is_done]
    informed = [result for result in long if _was_informed(result)]
    before = [result for result in plain if result.sent_at < signaled_at]
    unserved = [result for result in before if result.status not in (200, 503) or result.connection_error]
    not_ready_s = _not_ready_after(await checks, signaled_at)
    run.figures |= {
        "short streams that completed": f"{len(completed)} of {len(short)}",
        "long streams that ended with an error": f"{len(informed)} of {len(long)}",
        "requests before the signal": len(before),
        "of these reset or without a response": len(unserved),
        "not ready after": f"{max(0.0, not_ready_s):.2f} s",
        "exit after": f"{took_s:.1f} s",
        "exit status": status,
    }
    run.expect("every short stream completes", len(completed) == len(short))
    run.expect("every long stream ends with one error and without [DONE]", len(informed) == len(long))
    run.expect("no request from before the signal is reset", not unserved)
    run.expect_within(NOT_READY_WITHIN_S, "readiness fails", not_ready_s)
    run.expect_within(grace_s, "the gateway exits", took_s)
    run.expect("it exits cleanly", status == 0)


def _long(number: int) -> RequestPlan:
    return RequestPlan(id=f"long-{number:04d}", events=600, every_s=1.0)


def _short(number: int, before_signal_s: float, drain_s: float) -> RequestPlan:
    """Return a stream that ends after the signal, at least a second before the drain."""
    events = before_signal_s + random.uniform(0.5, drain_s - 1)
    return RequestPlan(id=f"short-{number:04d}", events=int(events), every_s=1.0)


async def _requests(installation: Installation, per_s: int, end: asyncio.Event) -> list[ClientResult]:
    """Send plain requests on separate connections until the gateway has exited."""
    tasks: list[asyncio.Task[ClientResult]] = []
    while not end.is_set():
        plan = RequestPlan(id=f"plain-{len(tasks):05d}", streamed=False, every_s=0.05)
        tasks.append(asyncio.create_task(installation.send(plan)))
        await asyncio.sleep(1 / per_s)
        if len(tasks) >= 2 and tasks[-2].done() and tasks[-2].result().connection_error == "refused":
            break
    return await asyncio.gather(*tasks)


async def _check_health(port: int, end: asyncio.Event) -> list[HealthCheck]:
    found: list[HealthCheck] = []
    while not end.is_set() and (not found or found[-1].status is not None):
        found.append(await check_health(port, "/readyz"))
        await asyncio.sleep(0.02)
    return found


def _not_ready_after(checks: list[HealthCheck], signaled_at: float) -> float:
    """Return how long after the signal the last check found the gateway ready."""
    return max((one.at - signaled_at for one in checks if one.status == 200), default=0.0)


def _was_informed(result: ClientResult) -> bool:
    return result.error_type == "overloaded_error" and not result.is_done and not result.connection_error
