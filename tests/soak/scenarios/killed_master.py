"""`kill -9` of the master: its workers end honestly, and a new master on the same port takes over."""

import asyncio
import signal
import time
from pathlib import Path

from tests.soak.books import Books, Run, play
from tests.soak.callers import look
from tests.soak.orders import Order
from tests.soak.site import Installation, Site

NOTICED_WITHIN_S = 3.0
SERVES_AGAIN_WITHIN_S = 15.0


def run(site: Site, *, streams: int, ramp_s: float) -> Run:
    """Kill the master under open streams, start another one at once, and let it serve a call."""
    with site.installation(WEB_CONCURRENCY="2") as installation:
        return play(lambda run: _run(run, installation, streams, ramp_s))


async def _run(run: Run, installation: Installation, streams: int, ramp_s: float) -> None:
    orders = [Order(id=f"stream-{number:05d}", events=600, every_s=1.0) for number in range(streams)]
    visits = [
        asyncio.create_task(installation.call(order, after_s=number * ramp_s / streams))
        for number, order in enumerate(orders)
    ]
    await asyncio.sleep(ramp_s + 3)
    workers = installation.gateway.worker_pids()

    killed_at = time.monotonic()
    installation.gateway.stop(with_signal=signal.SIGKILL)
    await asyncio.to_thread(installation.gateway.start)  # returns at once where an old worker still answers
    while not installation.gateway.worker_pids() or (await look(installation.port, "/readyz")).status != 200:
        await asyncio.sleep(0.1)
    serves_again_s = time.monotonic() - killed_at
    ended = await asyncio.gather(*visits)
    after = await installation.call(Order(id="after"))
    await installation.all_settled(within_s=30)

    books = Books(installation, [*ended, after])
    books.balance(run)
    told = [visit for visit in ended if visit.error_type == "overloaded_error" and not visit.broke]
    last_told_s = max(visit.ended_at for visit in ended) - killed_at
    run.figures |= {
        "told that the gateway restarts": len(told),
        "last one told after": f"{last_told_s:.1f} s",
        "serves again after": f"{serves_again_s:.1f} s",
        "old workers left": sum(map(_lives, workers)),
    }
    run.expect("every open stream ends with an honest error, and without [DONE]", len(told) == streams)
    run.expect_within(NOTICED_WITHIN_S, "the workers notice", last_told_s)
    run.expect_within(SERVES_AGAIN_WITHIN_S, "a new master serves", serves_again_s)
    run.expect("the new master serves", after.is_done)
    run.expect("the old workers have ended", not any(map(_lives, workers)))


def _lives(pid: int) -> bool:
    """Whether a process runs. One that has ended may still be listed, until somebody asks how it ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
