"""PostgreSQL goes away under load, stopped or frozen, and comes back: nobody waits, nothing is lost, it heals alone."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable

from tests.soak.books import Books, Run, play
from tests.soak.callers import Look, Visit, look
from tests.soak.orders import Order
from tests.soak.site import Installation, Site

BEFORE_S = 2.0
AFTER_S = 2.0  # how long it is watched once calls succeed again
NO_ANSWER_SLOWER_THAN_S = 2.0
HEALED_WITHIN_S = 5.0
LOOK_EVERY_S = 0.5


def stopped(site: Site, *, outage_s: float, requests_per_s: int, streams: int) -> Run:
    """The server dies, and another one is started in its place."""
    return _outage(site, site.postgres.stop, site.postgres.start, outage_s, requests_per_s, streams)


def frozen(site: Site, *, outage_s: float, requests_per_s: int, streams: int) -> Run:
    """The server goes on listening, its connections stay open, and nothing answers."""
    try:
        return _outage(site, site.postgres.freeze, site.postgres.thaw, outage_s, requests_per_s, streams)
    finally:
        site.postgres.thaw()


def _outage(
    site: Site,
    go: Callable[[], None],
    come_back: Callable[[], None],
    outage_s: float,
    requests_per_s: int,
    streams: int,
) -> Run:
    with site.installation() as installation:
        return play(lambda run: _run(run, installation, go, come_back, outage_s, requests_per_s, streams))


async def _run(
    run: Run,
    installation: Installation,
    go: Callable[[], None],
    come_back: Callable[[], None],
    outage_s: float,
    requests_per_s: int,
    streams: int,
) -> None:
    over = asyncio.Event()
    open_streams = [asyncio.create_task(installation.call(order)) for order in _streams(streams, outage_s)]
    requests = asyncio.create_task(_requests(installation, requests_per_s, over))
    looks = [asyncio.create_task(_looks(installation.port, path, over)) for path in ("/livez", "/readyz")]
    workers = installation.gateway.worker_pids()
    await asyncio.sleep(BEFORE_S)

    gone_at = time.monotonic()
    await asyncio.to_thread(go)
    away_at = time.monotonic()
    await asyncio.sleep(outage_s)
    returns_at = time.monotonic()
    await asyncio.to_thread(come_back)
    back_at = time.monotonic()
    await _serves_again(installation)
    await asyncio.sleep(AFTER_S)
    over.set()
    streamed = await asyncio.gather(*open_streams)
    plain = await requests
    alive, ready = await asyncio.gather(*looks)
    await installation.all_settled(within_s=10)

    books = Books(installation, [*streamed, *plain])
    books.balance(run)
    meanwhile = [visit for visit in plain if away_at < visit.sent_at < returns_at - NO_ANSWER_SLOWER_THAN_S]
    _expect_of_requests(run, plain, meanwhile)
    healed_s = _first_success_after(plain, back_at)
    run.figures |= {
        "streams that ended untouched": f"{sum(visit.is_done for visit in streamed)} of {streams}",
        "slowest look at /livez": f"{max(one.took_s for one in alive):.2f} s",
        "first success after its return": f"{healed_s:.1f} s",
        "going, coming back": f"{away_at - gone_at:.1f} s, {back_at - returns_at:.1f} s",
    }
    run.expect("running streams are not disturbed", all(visit.is_done for visit in streamed))
    run.expect("liveness never fails", all(one.status == 200 for one in alive))
    run.expect("readiness says so", _said_so(ready, away_at + 2 * NO_ANSWER_SLOWER_THAN_S, returns_at))
    run.expect_within(HEALED_WITHIN_S, "after its return, calls succeed", healed_s)
    run.expect("no worker was started anew", installation.gateway.worker_pids() == workers)


async def _serves_again(installation: Installation) -> None:
    """Wait until a call succeeds, for much longer than that may take."""
    deadline = time.monotonic() + 3 * HEALED_WITHIN_S
    number = 0
    while (await installation.call(Order(id=f"again-{number}"))).status != 200 and time.monotonic() < deadline:
        number += 1
        await asyncio.sleep(0.1)


def _expect_of_requests(run: Run, plain: list[Visit], meanwhile: list[Visit]) -> None:
    statuses = Counter(str(visit.status or visit.broke) for visit in plain)
    slowest = max(plain, key=lambda visit: visit.took_s)
    refused = [visit for visit in plain if visit.status == 503]
    run.figures |= {
        "answers": dict(statuses.most_common()),
        "answers during the outage": dict(Counter(str(visit.status or visit.broke) for visit in meanwhile)),
        "slowest answer": f"{slowest.took_s:.2f} s",
        "median of the refusals": f"{sorted(visit.took_s for visit in refused)[len(refused) // 2]:.3f} s",
    }
    run.expect("nobody is told anything but 200 or 503", statuses.keys() <= {"200", "503"})
    run.expect("nobody gets in during the outage", all(visit.status == 503 for visit in meanwhile))
    run.expect("every 503 says when to come back", all(visit.retry_after for visit in refused))
    run.expect_within(NO_ANSWER_SLOWER_THAN_S, "everybody is answered", slowest.took_s)


def _streams(count: int, outage_s: float) -> list[Order]:
    """Streams that begin before the outage. One half ends during it, the other after it."""
    ends_s = [BEFORE_S + outage_s * (0.2 + 1.2 * number / count) for number in range(count)]
    return [Order(id=f"stream-{n:04d}", events=int(end_s * 2), every_s=0.5) for n, end_s in enumerate(ends_s)]


async def _requests(installation: Installation, per_s: int, over: asyncio.Event) -> list[Visit]:
    """Plain calls with all keys in turn, at a rate that does not wait for answers."""
    tasks: list[asyncio.Task[Visit]] = []
    begun = time.monotonic()
    while not over.is_set():
        order = Order(id=f"plain-{len(tasks):05d}", streamed=False)
        tasks.append(asyncio.create_task(installation.call(order, key=len(tasks) % len(installation.keys))))
        await asyncio.sleep(begun + len(tasks) / per_s - time.monotonic())
    return await asyncio.gather(*tasks)


async def _looks(port: int, path: str, over: asyncio.Event) -> list[Look]:
    found: list[Look] = []
    while not over.is_set():
        found.append(await look(port, path))
        await asyncio.sleep(LOOK_EVERY_S)
    return found


def _said_so(ready: list[Look], from_: float, until: float) -> bool:
    meanwhile = [one for one in ready if from_ < one.at and one.at + one.took_s < until]
    return bool(meanwhile) and all(one.status == 503 for one in meanwhile)


def _first_success_after(plain: list[Visit], moment: float) -> float:
    return min((v.ended_at - moment for v in plain if v.status == 200 and v.sent_at > moment), default=float("inf"))
