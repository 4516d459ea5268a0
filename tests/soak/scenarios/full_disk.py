"""Scenarios: full disk and unavailable database. Records wait in memory until one of them accepts them."""

import asyncio
import contextlib
import resource
import subprocess
import time
from collections.abc import Callable, Iterator

from tests.soak.accounts import Accounts, ScenarioRun, play
from tests.soak.clients import ClientResult
from tests.soak.host import Host, Installation
from tests.soak.request_plan import RequestPlan

SHORTEST_S = 2.5
SAFE_WITHIN_S = 5.0
LOGGED_ONCE = "database and spool unavailable; buffering rows in memory"


def space_first(host: Host, *, streams: int, longest_s: float) -> ScenarioRun:
    """The disk has space before the database is back: the records move to the spool, then to the database."""
    with host.installation() as installation:
        return play(lambda run: _space_first(run, installation, streams, longest_s))


async def _space_first(run: ScenarioRun, installation: Installation, streams: int, longest_s: float) -> None:
    (worker,) = installation.gateway.worker_pids()
    with _no_space(worker):
        results = await _end_without_a_database(installation, run, streams, longest_s)
        run.figures["spooled while the disk is full"] = installation.spooled()
    in_spool_s = await _until(lambda: installation.spooled() == streams)
    await asyncio.to_thread(installation.host.postgres.start)
    settled_s = await _until(lambda: installation.count_started() == 0)

    run.figures |= {"all spooled after": f"{in_spool_s:.1f} s", "all settled after": f"{settled_s:.1f} s"}
    run.expect_within(SAFE_WITHIN_S, "records are on the disk, once it has space,", in_spool_s)
    await _expect_all(installation, run, results, settled_s)


def database_first(host: Host, *, streams: int, longest_s: float) -> ScenarioRun:
    """The database is back while the disk is still full: the records move there from memory."""
    with host.installation() as installation:
        return play(lambda run: _database_first(run, installation, streams, longest_s))


async def _database_first(run: ScenarioRun, installation: Installation, streams: int, longest_s: float) -> None:
    (worker,) = installation.gateway.worker_pids()
    with _no_space(worker):
        results = await _end_without_a_database(installation, run, streams, longest_s)
        await asyncio.to_thread(installation.host.postgres.start)
        settled_s = await _until(lambda: installation.count_started() == 0)
        run.figures |= {"all settled after": f"{settled_s:.1f} s"}
        await _expect_all(installation, run, results, settled_s)


def sqlite(host: Host, *, streams: int, longest_s: float) -> ScenarioRun:
    """The full disk has both the database file and the spool."""
    with host.installation(sqlite=True) as installation:
        return play(lambda run: _sqlite(run, installation, streams, longest_s))


async def _sqlite(run: ScenarioRun, installation: Installation, streams: int, longest_s: float) -> None:
    (worker,) = installation.gateway.worker_pids()
    open_streams = _open_streams(installation, streams, longest_s)
    await asyncio.sleep(1.5)
    with _no_space(worker):
        results = await asyncio.gather(*open_streams)
        await _expect_rejection(installation, run)
    settled_s = await _until(lambda: installation.count_started() == 0)
    run.figures |= {"all settled after": f"{settled_s:.1f} s"}
    await _expect_all(installation, run, results, settled_s)


def failing_fsync(host: Host, *, streams: int, longest_s: float) -> ScenarioRun:
    """Writes succeed and fsync fails: such records are not safe."""
    with host.installation() as installation:
        return play(lambda run: _failing_fsync(run, installation, streams, longest_s))


async def _failing_fsync(run: ScenarioRun, installation: Installation, streams: int, longest_s: float) -> None:
    (worker,) = installation.gateway.worker_pids()
    with _failing(worker, "fsync"):
        results = await _end_without_a_database(installation, run, streams, longest_s)
        run.figures["spooled while fsync fails"] = installation.spooled()
        run.expect("a record without a successful fsync is not in the spool", installation.spooled() == 0)
    in_spool_s = await _until(lambda: installation.spooled() == streams)
    await asyncio.to_thread(installation.host.postgres.start)
    settled_s = await _until(lambda: installation.count_started() == 0)

    run.figures |= {"all spooled after": f"{in_spool_s:.1f} s", "all settled after": f"{settled_s:.1f} s"}
    await _expect_all(installation, run, results, settled_s)


# ---- common parts


async def _end_without_a_database(
    installation: Installation, run: ScenarioRun, streams: int, longest_s: float
) -> list[ClientResult]:
    """Open streams, stop PostgreSQL during them, and read them to their end."""
    open_streams = _open_streams(installation, streams, longest_s)
    await asyncio.sleep(1.5)
    await asyncio.to_thread(installation.host.postgres.stop)
    results = await asyncio.gather(*open_streams)
    await _expect_rejection(installation, run)
    return results


def _open_streams(installation: Installation, streams: int, longest_s: float) -> list[asyncio.Task[ClientResult]]:
    """Start streams that end one after the other, all of them after the outage has begun."""
    ends_s = [SHORTEST_S + (longest_s - SHORTEST_S) * number / streams for number in range(streams)]
    plans = [RequestPlan(id=f"stream-{n:04d}", events=int(end_s * 4), every_s=0.25) for n, end_s in enumerate(ends_s)]
    return [asyncio.create_task(installation.send(plan)) for plan in plans]


async def _expect_rejection(installation: Installation, run: ScenarioRun) -> None:
    rejected = await installation.send(RequestPlan(id="rejected"))
    run.expect("no request is admitted meanwhile", rejected.status == 503 and rejected.retry_after)


async def _expect_all(
    installation: Installation, run: ScenarioRun, results: list[ClientResult], settled_s: float
) -> None:
    after, healed_s = await _first_success(installation)
    accounts = Accounts(installation, [*results, after])
    accounts.balance(run)
    logged = installation.gateway.log().count(LOGGED_ONCE)
    run.figures |= {
        "completed streams": f"{sum(result.is_done for result in results)} of {len(results)}",
        "log entries": logged,
    }
    run.expect("all streams complete", all(result.is_done for result in results))
    run.expect_within(SAFE_WITHIN_S, "records are settled", settled_s)
    run.expect_within(SAFE_WITHIN_S, "requests are admitted again", healed_s)
    run.expect("the log has one entry about it", logged == 1)


async def _first_success(installation: Installation) -> tuple[ClientResult, float]:
    """Return the first admitted request, and the time until then."""
    started_at = time.monotonic()
    while True:
        result = await installation.send(RequestPlan(id="after"))
        if result.status == 200 or time.monotonic() > started_at + 30:
            return result, time.monotonic() - started_at
        await asyncio.sleep(0.1)


async def _until(condition: Callable[[], bool], within_s: float = 30.0) -> float:
    """Wait for a condition, at most `within_s`. Return the time it took."""
    started_at = time.monotonic()
    while not condition() and time.monotonic() < started_at + within_s:
        await asyncio.sleep(0.1)
    return time.monotonic() - started_at


@contextlib.contextmanager
def _no_space(pid: int) -> Iterator[None]:
    """Let no file of a process grow: writes fail as on a full disk. A pipe, such as its log, still works."""
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def _failing(pid: int, syscall: str) -> Iterator[None]:
    """Make a system call of a process fail with an input/output error."""
    command = ["strace", "-q", "-f", "-p", str(pid), "-o", "/dev/null", "-e", f"inject={syscall}:error=EIO"]
    with subprocess.Popen([*command, "-e", f"trace={syscall}"], stderr=subprocess.PIPE) as tracer:
        try:
            yield
        finally:
            tracer.terminate()
