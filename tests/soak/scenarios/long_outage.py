"""Scenarios: the database, or a whole host, is away for longer than the leases of the requests in flight."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.soak.accounts import Accounts, ScenarioRun, play
from tests.soak.clients import ClientResult
from tests.soak.host import Host, Installation, PipedGateway
from tests.soak.request_plan import RequestPlan

LEASE_S = 1
PRICES_ARE_READ_AFTER_S = 2.0
SWEPT_WITHIN_S = 30.0
SETTLED_WITHIN_S = 30.0
Streams = list["asyncio.Task[ClientResult]"]


def database(host: Host, *, outage_s: float, streams: int) -> ScenarioRun:
    """Stop the database for longer than the leases, with two workers and a second host."""
    with host.installation(WEB_CONCURRENCY="2", CONFIG_CACHE_TTL_S="1") as installation, _second_host(installation):
        return play(lambda run: _database(run, installation, outage_s, streams))


def paused_host(host: Host, *, streams: int) -> ScenarioRun:
    """Pause all processes of a host until another host has settled its requests, as when a virtual machine resumes."""
    with host.installation(CONFIG_CACHE_TTL_S="1") as installation, _second_host(installation):
        return play(lambda run: _paused_host(run, installation, streams))


@contextmanager
def _second_host(installation: Installation) -> Iterator[PipedGateway]:
    """Run another gateway on the same database, with a state folder of its own."""
    folder = installation.state / "second"
    folder.mkdir()
    (folder / "static").symlink_to(installation.state / "static")
    with PipedGateway(DATABASE_URL=installation.database.url, STATE_DIR=str(folder)) as gateway:
        yield gateway


async def _database(run: ScenarioRun, installation: Installation, outage_s: float, streams: int) -> None:
    plans = [RequestPlan(id=f"stream-{n:04d}", events=4 + n % 12, every_s=outage_s / 8) for n in range(streams)]
    open_streams = await _begin(installation, plans)
    _end_leases(installation)
    await asyncio.to_thread(installation.host.postgres.stop)
    await asyncio.sleep(outage_s)
    await asyncio.to_thread(installation.host.postgres.start)
    await _check(run, installation, plans, open_streams)


async def _paused_host(run: ScenarioRun, installation: Installation, streams: int) -> None:
    plans = [RequestPlan(id=f"stream-{n:04d}", events=6, every_s=0.5) for n in range(streams)]
    open_streams = await _begin(installation, plans)
    _end_leases(installation)
    processes = [installation.gateway.pid, *installation.gateway.worker_pids()]
    paused_at = time.monotonic()
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    try:
        await installation.all_settled(within_s=SWEPT_WITHIN_S)
        swept = _count(installation, "status = 'interrupted'")
    finally:
        for pid in processes:
            os.kill(pid, signal.SIGCONT)
    run.figures |= {
        "settled by the other host meanwhile": swept,
        "paused": f"{time.monotonic() - paused_at:.0f} s",
    }
    await _check(run, installation, plans, open_streams)
    late = _count(installation, "interruption IS NOT NULL AND status = 'completed'")
    run.figures["settled late"] = late
    run.expect("the other host settles the requests of the paused one", swept > 0)
    run.expect("each is settled late", late == swept)


async def _begin(installation: Installation, plans: list[RequestPlan]) -> Streams:
    """Add a price and a budget, open streams, and wait until all are admitted."""
    _add_price_and_budget(installation)
    await asyncio.sleep(PRICES_ARE_READ_AFTER_S)
    await installation.send(RequestPlan(id="reads-the-prices", streamed=False))
    open_streams = [asyncio.create_task(installation.send(plan)) for plan in plans]
    deadline = time.monotonic() + SWEPT_WITHIN_S
    while installation.count_started() < len(plans) and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    return open_streams


async def _check(
    run: ScenarioRun,
    installation: Installation,
    plans: list[RequestPlan],
    open_streams: Streams,
) -> None:
    results = await asyncio.gather(*open_streams)
    await _settled(installation, len(plans))
    accounts = Accounts(installation, results)
    accounts.balance(run)
    tokens = {id: row["output_tokens"] for id, row in accounts.rows.items()}
    totals = _totals(installation)
    run.figures |= {
        "interrupted at the end": _count(installation, "status = 'interrupted'"),
        "cost in records, rollups and budget": totals[0][0],
        "quarantined": sum(1 for _ in installation.state.rglob("quarantine.jsonl")),
    }
    run.expect("every stream completes", all(result.is_done for result in results))
    run.expect("every record has the tokens of its response", tokens == {plan.id: plan.events for plan in plans})
    run.expect("records, rollups and budget have the same cost", len({cost for cost, _ in totals}) == 1)
    run.expect("records and rollups count the same requests", totals[0] == totals[1])
    run.expect("no amount stays reserved", totals[2][1] == 0)
    run.expect("no settlement is dropped", not list(installation.state.rglob("quarantine.jsonl")))


async def _settled(installation: Installation, count: int) -> None:
    """Wait until all requests are settled by their own settlements. The accounts report those that are not."""
    await _until(lambda: _count(installation, "status = 'completed'") > count)


async def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SETTLED_WITHIN_S
    while not condition() and time.monotonic() < deadline:
        await asyncio.sleep(0.2)


def _add_price_and_budget(installation: Installation) -> None:
    installation.database.rows(
        "INSERT INTO keys_modelprice (model_pattern, upstream, valid_from, input_price, output_price, "
        "writes_cache_implicitly, is_free, source, created_at) "
        "VALUES ('soak', '', '2026-01-01T00:00Z', 3000000, 15000000, false, false, '', now())"
    )
    installation.database.rows(
        "INSERT INTO keys_budget (api_key_id, period, unit, amount, temporary_increase, created_at) "
        "SELECT min(id), 'total', 'usd', 100000000000000, 0, now() FROM keys_apikey"
    )


def _end_leases(installation: Installation) -> None:
    """Let the leases end soon: those of a scenario must not take eleven minutes."""
    installation.database.rows(
        f"UPDATE keys_usagerecord SET lease_expires_at = now() + interval '{LEASE_S} s' WHERE status = 'started'"
    )


def _count(installation: Installation, condition: str) -> int:
    (row,) = installation.database.rows(f"SELECT count(*) AS n FROM keys_usagerecord WHERE {condition}")
    return int(row["n"])


def _totals(installation: Installation) -> list[tuple[int, int]]:
    """Return the cost and the requests of records and rollups, and what is spent and reserved of the budget."""
    queries = [
        "SELECT sum(cost_usd_picos) AS a, count(*) AS b FROM keys_usagerecord",
        "SELECT 1000000 * sum(cost_usd_micros) + sum(cost_usd_picos_rest) AS a, sum(requests) AS b "
        "FROM keys_hourlyusage",
        "SELECT 1000000 * sum(spent) + sum(spent_rest_picos) AS a, sum(reserved) AS b FROM keys_budgetperiod",
    ]
    rows = [installation.database.rows(query)[0] for query in queries]
    return [(int(row["a"] or 0), int(row["b"] or 0)) for row in rows]
