"""Scenario: clients disconnect at random times and in every way; the upstream is freed and every record is right."""

import asyncio
import random
from pathlib import Path

from tests.soak.accounts import Accounts, ScenarioRun, play
from tests.soak.clients import ClientResult, Disconnect
from tests.soak.host import Host, Installation
from tests.soak.request_plan import RequestPlan

FREED_WITHIN_S = 1.0
KINDS = ("close", "half-close", "reset")
LATEST_DISCONNECT_S = 6.0
LISTENING = "0A"


def run(host: Host, *, clients: int, ramp_s: float) -> ScenarioRun:
    """Disconnect clients of streams and plain requests at random times, up to just before the end."""
    with host.installation() as installation:
        return play(lambda run: _run(run, installation, clients, ramp_s))


async def _run(run: ScenarioRun, installation: Installation, clients: int, ramp_s: float) -> None:
    results = await asyncio.gather(
        *(
            installation.send(_plan(number), after_s=number * ramp_s / clients, disconnect=_disconnect())
            for number in range(clients)
        )
    )
    await installation.all_settled(within_s=10)
    await asyncio.sleep(1)

    accounts = Accounts(installation, results)
    accounts.balance(run)
    freed_s = [
        request.disconnected_at - result.disconnected_at
        for result in results
        if result.disconnected_at and (request := accounts.served.get(result.id)) and request.disconnected_at
    ]
    disconnected = [result for result in results if result.disconnected_at and not result.is_done]
    held = [
        result.id
        for result in disconnected
        if (request := accounts.served.get(result.id)) and not (request.disconnected_at or request.ended_at)
    ]
    run.figures |= {
        "disconnected before the end": len(disconnected),
        "of these before the first byte": sum(result.first_at is None for result in disconnected),
        "upstream freed after, maximum": f"{max(freed_s):.2f} s",
        "never freed": len(held),
        "recorded as client_closed": sum(accounts.status(result.id) == "client_closed" for result in disconnected),
        "sockets left open": _open_sockets(installation, accounts),
    }
    run.expect_within(FREED_WITHIN_S, "the upstream is freed", max(freed_s))
    run.expect("every upstream connection is freed", not held)
    run.expect(
        "disconnected clients are client_closed, unless the response was complete",
        all(_is_recorded(accounts, v) for v in disconnected),
    )
    run.expect("no socket is left open", not _open_sockets(installation, accounts))


def _plan(number: int) -> RequestPlan:
    """Return a plan that takes as long as the latest disconnect, or a little longer."""
    first_event_after_s = random.choice((0.0, 2.0))
    return RequestPlan(
        id=f"client-{number:04d}",
        first_event_after_s=first_event_after_s,
        events=random.randint(10, 14),
        every_s=(LATEST_DISCONNECT_S - first_event_after_s) / 10,
        streamed=number % 4 != 0,
    )


def _disconnect() -> Disconnect:
    return Disconnect(after_s=random.uniform(0.005, LATEST_DISCONNECT_S), how=random.choice(KINDS))


def _is_recorded(accounts: Accounts, result: ClientResult) -> bool:
    status = accounts.status(result.id)
    if status == "completed":  # the upstream had sent everything, and the client disconnected before it read the end
        return accounts.served[result.id].ended_at is not None
    return status == "client_closed" or (status == "missing" and result.id not in accounts.served)


def _open_sockets(installation: Installation, accounts: Accounts) -> int:
    """Count the connections to clients, and those to the upstream beyond the reusable ones.

    A complete response leaves a reusable connection, even if its client disconnected before it read the end.
    """
    whole = sum(request.ended_at is not None for request in accounts.served.values())
    return _connections(installation.port) + max(0, installation.upstream.open_connections() - whole)


def _connections(port: int) -> int:
    """Count the connections to a local port that its server holds."""
    held = 0
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        address, state, inode = fields[1], fields[3], fields[9]
        held += int(address.split(":")[1], 16) == port and state != LISTENING and inode != "0"
    return held
