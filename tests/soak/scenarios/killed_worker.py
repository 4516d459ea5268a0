"""`kill -9` of one of two workers in the middle of its streams."""

import asyncio
import os
import random
import signal
import time

from tests.soak.books import Books, Run, play
from tests.soak.orders import Order
from tests.soak.site import Installation, Site

ORPHANED_WITHIN_S = 30.0


def run(site: Site, *, streams: int, ramp_s: float, shortest: int, longest: int) -> Run:
    """Open streams of an event a second within `ramp_s`, and kill a worker when about half of them have ended."""
    with site.installation(WEB_CONCURRENCY="2") as installation:
        return play(lambda run: _run(run, installation, streams, ramp_s, shortest, longest))


async def _run(run: Run, installation: Installation, streams: int, ramp_s: float, shortest: int, longest: int) -> None:
    orders = [
        Order(id=f"stream-{number:05d}", events=random.randint(shortest, longest), every_s=1.0)
        for number in range(streams)
    ]
    visits = [
        asyncio.create_task(installation.call(order, after_s=number * ramp_s / streams))
        for number, order in enumerate(orders)
    ]
    await asyncio.sleep((ramp_s + shortest + longest) / 2)

    victim = max(installation.gateway.worker_pids(), key=_open_files)  # few streams share themselves out unevenly
    killed_at = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    cut = [visit.id for visit in await asyncio.gather(*visits) if visit.broke]
    await installation.all_settled(within_s=ORPHANED_WITHIN_S)

    books = Books(installation, (task.result() for task in visits))
    books.balance(run)
    settled_s = [(books.rows[id]["settled_at"].timestamp() - _wall(killed_at)) for id in cut if id in books.rows]
    run.figures |= {
        "finished": sum(visit.is_done for visit in books.visits.values()),
        "cut by the kill": len(cut),
        "interrupted": sum(books.status(id) == "interrupted" for id in cut),
        "last orphan settled after": f"{max(settled_s, default=0):.1f} s",
    }
    run.expect("the kill cut streams", len(cut) > streams / 10)
    run.expect("what was cut is orphaned, or was settled before", _are_accounted_for(books, cut))
    run.expect_within(ORPHANED_WITHIN_S, "orphans are settled", max(settled_s, default=0))
    run.expect("the other worker's streams end untouched", _others_finished(books, cut))


def _open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def _wall(monotonic: float) -> float:
    return time.time() - (time.monotonic() - monotonic)


def _are_accounted_for(books: Books, cut: list[str]) -> bool:
    return all(books.status(id) in ("interrupted", "completed") for id in cut)


def _others_finished(books: Books, cut: list[str]) -> bool:
    return all(visit.is_done for visit in books.visits.values() if visit.id not in cut)
