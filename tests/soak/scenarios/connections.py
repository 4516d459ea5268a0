"""Scenario: open streams hold no database connection and do not slow the admin."""

import asyncio
import time

from tests.soak.accounts import Accounts, ScenarioRun, play
from tests.soak.admin_client import AdminClient
from tests.soak.host import Host, Installation
from tests.soak.request_plan import RequestPlan

POOL = 8
WRITER_CONNECTIONS = 1
PAGE_WITHIN_S = 0.5
STREAM_S = 600


def run(host: Host, *, streams: int, ramp_s: float) -> ScenarioRun:
    """Open streams, count the connections, and open admin pages."""
    with host.installation() as installation:
        return play(lambda run: _run(run, installation, streams, ramp_s))


async def _run(run: ScenarioRun, installation: Installation, streams: int, ramp_s: float) -> None:
    admin = AdminClient(installation.port)
    await asyncio.to_thread(admin.sign_in)
    results = [
        asyncio.create_task(
            installation.send(
                RequestPlan(id=f"stream-{number:04d}", events=STREAM_S, every_s=1.0),
                after_s=number * ramp_s / streams,
                key=number % len(installation.keys),
            )
        )
        for number in range(streams)
    ]
    await asyncio.sleep(ramp_s + 2)
    open_now = installation.count_started()
    counted = [_connections(installation) for _ in range(5)]
    took_s = [await asyncio.to_thread(_time_of, admin) for _ in range(10)]
    counted += [_connections(installation) for _ in range(5)]
    await asyncio.to_thread(installation.gateway.stop)
    ended = await asyncio.gather(*results)

    accounts = Accounts(installation, ended)
    accounts.balance(run)
    most = max(len(states) for states in counted)
    in_transaction = max(states.count("idle in transaction") for states in counted)
    run.figures |= {
        "streams open": open_now,
        "connections, maximum": most,
        "of these idle in transaction": in_transaction,
        "slowest admin page": f"{max(took_s):.3f} s",
    }
    run.expect("all streams are open together", open_now == streams)
    run.expect("the gateway's connections are found", most > 0)
    run.expect(f"at most {POOL} connections of the pool, and the writer's", most <= POOL + WRITER_CONNECTIONS)
    run.expect("none is idle in a transaction", in_transaction == 0)
    run.expect_within(PAGE_WITHIN_S, "an admin page opens", max(took_s))


def _connections(installation: Installation) -> list[str]:
    """Return the state of each connection of the gateway, identified by the application name of DATABASE_URL."""
    rows = installation.database.rows(
        "SELECT state FROM pg_stat_activity WHERE application_name = current_database() AND pid <> pg_backend_pid()"
    )
    return [row["state"] for row in rows]


def _time_of(admin: AdminClient) -> float:
    started_at = time.monotonic()
    admin.open("/admin/keys/usagerecord/")
    return time.monotonic() - started_at
