"""The disk is full and the database is away: rows wait in memory, and are written as soon as either takes them."""

import asyncio
import contextlib
import resource
import subprocess
import time
from collections.abc import Callable, Iterator

from tests.soak.books import Books, Run, play
from tests.soak.callers import Visit
from tests.soak.orders import Order
from tests.soak.site import Installation, Site

SHORTEST_S = 2.5
SAFE_WITHIN_S = 5.0
SAID_ONCE = "Neither database nor disk take the ledger's rows"


def space_first(site: Site, *, streams: int, longest_s: float) -> Run:
    """There is space again before the database is back: the rows move to the spool, and from there to the database."""
    with site.installation() as installation:
        return play(lambda run: _space_first(run, installation, streams, longest_s))


async def _space_first(run: Run, installation: Installation, streams: int, longest_s: float) -> None:
    (worker,) = installation.gateway.worker_pids()
    with _no_space(worker):
        visits = await _end_without_a_database(installation, run, streams, longest_s)
        run.figures["rows in the spool while it is full"] = installation.spooled()
    in_spool_s = await _until(lambda: installation.spooled() == streams)
    await asyncio.to_thread(installation.site.postgres.start)
    settled_s = await _until(lambda: installation.count_started() == 0)

    run.figures |= {"rows in the spool after": f"{in_spool_s:.1f} s", "rows settled after": f"{settled_s:.1f} s"}
    run.expect_within(SAFE_WITHIN_S, "rows are on the disk, once there is space,", in_spool_s)
    await _expect_all(installation, run, visits, settled_s)


def database_first(site: Site, *, streams: int, longest_s: float) -> Run:
    """The database is back while the disk is still full: the rows go there from memory."""
    with site.installation() as installation:
        return play(lambda run: _database_first(run, installation, streams, longest_s))


async def _database_first(run: Run, installation: Installation, streams: int, longest_s: float) -> None:
    (worker,) = installation.gateway.worker_pids()
    with _no_space(worker):
        visits = await _end_without_a_database(installation, run, streams, longest_s)
        await asyncio.to_thread(installation.site.postgres.start)
        settled_s = await _until(lambda: installation.count_started() == 0)
        run.figures |= {"rows settled after": f"{settled_s:.1f} s"}
        await _expect_all(installation, run, visits, settled_s)


def sqlite(site: Site, *, streams: int, longest_s: float) -> Run:
    """One full disk takes both away: the database's file and the spool."""
    with site.installation(sqlite=True) as installation:
        return play(lambda run: _sqlite(run, installation, streams, longest_s))


async def _sqlite(run: Run, installation: Installation, streams: int, longest_s: float) -> None:
    (worker,) = installation.gateway.worker_pids()
    open_streams = _open_streams(installation, streams, longest_s)
    await asyncio.sleep(1.5)
    with _no_space(worker):
        visits = await asyncio.gather(*open_streams)
        await _expect_refusal(installation, run)
    settled_s = await _until(lambda: installation.count_started() == 0)
    run.figures |= {"rows settled after": f"{settled_s:.1f} s"}
    await _expect_all(installation, run, visits, settled_s)


def failing_fsync(site: Site, *, streams: int, longest_s: float) -> Run:
    """The disk takes bytes and cannot promise to keep them: that is no safety."""
    with site.installation() as installation:
        return play(lambda run: _failing_fsync(run, installation, streams, longest_s))


async def _failing_fsync(run: Run, installation: Installation, streams: int, longest_s: float) -> None:
    (worker,) = installation.gateway.worker_pids()
    with _failing(worker, "fsync"):
        visits = await _end_without_a_database(installation, run, streams, longest_s)
        run.figures["rows in the spool while fsync fails"] = installation.spooled()
        run.expect("what is not on the disk for sure is not in the spool", installation.spooled() == 0)
    in_spool_s = await _until(lambda: installation.spooled() == streams)
    await asyncio.to_thread(installation.site.postgres.start)
    settled_s = await _until(lambda: installation.count_started() == 0)

    run.figures |= {"rows in the spool after": f"{in_spool_s:.1f} s", "rows settled after": f"{settled_s:.1f} s"}
    await _expect_all(installation, run, visits, settled_s)


# ---- what they share


async def _end_without_a_database(installation: Installation, run: Run, streams: int, longest_s: float) -> list[Visit]:
    """Open streams, take PostgreSQL away under them, and see them to their end."""
    open_streams = _open_streams(installation, streams, longest_s)
    await asyncio.sleep(1.5)
    await asyncio.to_thread(installation.site.postgres.stop)
    visits = await asyncio.gather(*open_streams)
    await _expect_refusal(installation, run)
    return visits


def _open_streams(installation: Installation, streams: int, longest_s: float) -> list[asyncio.Task[Visit]]:
    """Streams that end one after the other, all of them after a while that is long enough to take something away."""
    ends_s = [SHORTEST_S + (longest_s - SHORTEST_S) * number / streams for number in range(streams)]
    orders = [Order(id=f"stream-{n:04d}", events=int(end_s * 4), every_s=0.25) for n, end_s in enumerate(ends_s)]
    return [asyncio.create_task(installation.call(order)) for order in orders]


async def _expect_refusal(installation: Installation, run: Run) -> None:
    refused = await installation.call(Order(id="refused"))
    run.expect("no call is let in meanwhile", refused.status == 503 and refused.retry_after)


async def _expect_all(installation: Installation, run: Run, visits: list[Visit], settled_s: float) -> None:
    after, healed_s = await _first_success(installation)
    books = Books(installation, [*visits, after])
    books.balance(run)
    said = installation.gateway.log().count(SAID_ONCE)
    run.figures |= {
        "streams that ended untouched": f"{sum(visit.is_done for visit in visits)} of {len(visits)}",
        "said in the log": said,
    }
    run.expect("streams end untouched", all(visit.is_done for visit in visits))
    run.expect_within(SAFE_WITHIN_S, "rows are settled", settled_s)
    run.expect_within(SAFE_WITHIN_S, "calls are let in again", healed_s)
    run.expect("the log says it once", said == 1)


async def _first_success(installation: Installation) -> tuple[Visit, float]:
    """A call that is let in, and how long it took until one was."""
    begun = time.monotonic()
    while True:
        visit = await installation.call(Order(id="after"))
        if visit.status == 200 or time.monotonic() > begun + 30:
            return visit, time.monotonic() - begun
        await asyncio.sleep(0.1)


async def _until(condition: Callable[[], bool], within_s: float = 30.0) -> float:
    """How long it took until something was so, at most `within_s`."""
    begun = time.monotonic()
    while not condition() and time.monotonic() < begun + within_s:
        await asyncio.sleep(0.1)
    return time.monotonic() - begun


@contextlib.contextmanager
def _no_space(pid: int) -> Iterator[None]:
    """Let no file of a process grow: its writes fail as those on a full disk do. A pipe, such as its log, goes on."""
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def _failing(pid: int, call: str) -> Iterator[None]:
    """Let a system call of a process fail with an input/output error."""
    command = ["strace", "-q", "-f", "-p", str(pid), "-o", "/dev/null", "-e", f"inject={call}:error=EIO"]
    with subprocess.Popen([*command, "-e", f"trace={call}"], stderr=subprocess.PIPE) as tracer:
        try:
            yield
        finally:
            tracer.terminate()
