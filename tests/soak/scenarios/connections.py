"""Open streams hold no connection to the database, and leave pages the time they need."""

import asyncio
import time

from tests.soak.books import Books, Run, play
from tests.soak.orders import Order
from tests.soak.pages import Admin
from tests.soak.site import Installation, Site

POOL = 8
OF_THE_WRITER = 1
PAGE_WITHIN_S = 0.5
STREAM_S = 600


def run(site: Site, *, streams: int, ramp_s: float) -> Run:
    """Open streams, count the connections, and open pages of the admin."""
    with site.installation() as installation:
        return play(lambda run: _run(run, installation, streams, ramp_s))


async def _run(run: Run, installation: Installation, streams: int, ramp_s: float) -> None:
    admin = Admin(installation.port)
    await asyncio.to_thread(admin.sign_in)
    visits = [
        asyncio.create_task(
            installation.call(
                Order(id=f"stream-{number:04d}", events=STREAM_S, every_s=1.0),
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
    ended = await asyncio.gather(*visits)

    books = Books(installation, ended)
    books.balance(run)
    most = max(len(states) for states in counted)
    in_transaction = max(states.count("idle in transaction") for states in counted)
    run.figures |= {
        "streams open": open_now,
        "connections, at most": most,
        "of these idle in transaction": in_transaction,
        "slowest page of the admin": f"{max(took_s):.3f} s",
    }
    run.expect("all streams are open at once", open_now == streams)
    run.expect("the gateway's connections are found", most > 0)
    run.expect(f"at most {POOL} connections of the pool, and the writer's", most <= POOL + OF_THE_WRITER)
    run.expect("none is idle in a transaction", in_transaction == 0)
    run.expect_within(PAGE_WITHIN_S, "a page of the admin opens", max(took_s))


def _connections(installation: Installation) -> list[str]:
    """The state of each connection that the gateway holds. It has given them the name that DATABASE_URL asks for."""
    rows = installation.database.rows(
        "SELECT state FROM pg_stat_activity WHERE application_name = current_database() AND pid <> pg_backend_pid()"
    )
    return [row["state"] for row in rows]


def _time_of(admin: Admin) -> float:
    begun = time.monotonic()
    admin.open("/admin/keys/usagerecord/")
    return time.monotonic() - begun
