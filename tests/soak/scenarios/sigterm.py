"""SIGTERM under open streams: the short ones end untouched, the long ones are told, and nothing is reset."""

import asyncio
import random
import signal
import time

from tests.soak.books import Books, Run, play
from tests.soak.callers import Look, Visit, look
from tests.soak.orders import Order
from tests.soak.site import Installation, Site

END_MARGIN_S = 5  # what the gateway keeps of its grace for error events, settlements and the exit itself
NOT_READY_WITHIN_S = 0.5


def run(site: Site, *, streams: int, ramp_s: float, grace_s: int, requests_per_s: int) -> Run:
    """Open streams, half of them shorter than the drain, send plain calls until the signal and beyond, and end."""
    with site.installation(WEB_CONCURRENCY="2", GRACEFUL_TIMEOUT_S=str(grace_s)) as installation:
        return play(lambda run: _run(run, installation, streams, ramp_s, grace_s, requests_per_s))


async def _run(
    run: Run, installation: Installation, streams: int, ramp_s: float, grace_s: int, requests_per_s: int
) -> None:
    begins = [number * ramp_s / streams for number in range(streams)]
    signal_after_s = ramp_s + 2
    orders = [
        _long(number) if number % 2 else _short(number, signal_after_s - begins[number], grace_s - END_MARGIN_S)
        for number in range(streams)
    ]
    visits = [
        asyncio.create_task(installation.call(order, after_s=after_s))
        for order, after_s in zip(orders, begins, strict=True)
    ]
    await asyncio.sleep(signal_after_s - 1)
    end_of_requests = asyncio.Event()
    requests = asyncio.create_task(_requests(installation, requests_per_s, end_of_requests))
    looks = asyncio.create_task(_looks(installation.port, end_of_requests))
    await asyncio.sleep(1)

    signalled_at = time.monotonic()
    status = await asyncio.to_thread(installation.gateway.stop, with_signal=signal.SIGTERM, within_s=grace_s + 5.0)
    took_s = time.monotonic() - signalled_at
    end_of_requests.set()
    ended = {visit.id: visit for visit in await asyncio.gather(*visits)}
    plain = await requests

    books = Books(installation, [*ended.values(), *plain])
    books.balance(run)
    short, long = ([ended[order.id] for order in orders if order.id.startswith(kind)] for kind in ("short", "long"))
    untouched = [visit for visit in short if visit.is_done]
    told = [visit for visit in long if _was_told(visit)]
    before = [visit for visit in plain if visit.sent_at < signalled_at]
    unanswered = [visit for visit in before if visit.status not in (200, 503) or visit.broke]
    not_ready_s = _not_ready_after(await looks, signalled_at)
    run.figures |= {
        "short ones that ended untouched": f"{len(untouched)} of {len(short)}",
        "long ones that were told": f"{len(told)} of {len(long)}",
        "calls sent before the signal": len(before),
        "of these reset or unanswered": len(unanswered),
        "not ready after": f"{max(0.0, not_ready_s):.2f} s",
        "exit after": f"{took_s:.1f} s",
        "exit status": status,
    }
    run.expect("every stream that is short enough ends untouched", len(untouched) == len(short))
    run.expect("every other one gets one honest error, and no [DONE]", len(told) == len(long))
    run.expect("no call that was sent before the signal is reset", not unanswered)
    run.expect_within(NOT_READY_WITHIN_S, "readiness turns", not_ready_s)
    run.expect_within(grace_s, "the gateway exits", took_s)
    run.expect("it exits cleanly", status == 0)


def _long(number: int) -> Order:
    return Order(id=f"long-{number:04d}", events=600, every_s=1.0)


def _short(number: int, before_signal_s: float, drain_s: float) -> Order:
    """A stream that ends after the signal, at least a second before the drain does."""
    events = before_signal_s + random.uniform(0.5, drain_s - 1)
    return Order(id=f"short-{number:04d}", events=int(events), every_s=1.0)


async def _requests(installation: Installation, per_s: int, end: asyncio.Event) -> list[Visit]:
    """Plain calls, one after the other and each on its own, until the gateway has gone."""
    tasks: list[asyncio.Task[Visit]] = []
    while not end.is_set():
        order = Order(id=f"plain-{len(tasks):05d}", streamed=False, every_s=0.05)
        tasks.append(asyncio.create_task(installation.call(order)))
        await asyncio.sleep(1 / per_s)
        if len(tasks) >= 2 and tasks[-2].done() and tasks[-2].result().broke == "refused":
            break
    return await asyncio.gather(*tasks)


async def _looks(port: int, end: asyncio.Event) -> list[Look]:
    found: list[Look] = []
    while not end.is_set() and (not found or found[-1].status is not None):
        found.append(await look(port, "/readyz"))
        await asyncio.sleep(0.02)
    return found


def _not_ready_after(looks: list[Look], signalled_at: float) -> float:
    """How long after the signal the last look still found the gateway ready."""
    return max((one.at - signalled_at for one in looks if one.status == 200), default=0.0)


def _was_told(visit: Visit) -> bool:
    return visit.error_type == "overloaded_error" and not visit.is_done and not visit.broke
