"""Scenario: clients that read 100 bytes per second of 10 MB. Memory is bounded, and the clients time out."""

import asyncio
import time
from pathlib import Path

from tests.soak.accounts import Accounts, ScenarioRun, play
from tests.soak.host import Host, Installation
from tests.soak.request_plan import RequestPlan

BYTES_PER_S = 100
EVENT_CHARACTERS = 2_000
EVENTS = 5_000
MEMORY_PER_CLIENT = 512 * 1024
BUFFERED_BYTES = 2 * 2**20  # of each response, buffered between the upstream and the client
TIMEOUT_MARGIN_S = 5.0


def run(host: Host, *, clients: int, ramp_s: float, send_timeout_s: float) -> ScenarioRun:
    """Start clients that read streams too slowly."""
    with host.installation(CLIENT_SEND_TIMEOUT_S=str(send_timeout_s)) as installation:
        return play(lambda run: _run(run, installation, clients, ramp_s, send_timeout_s))


async def _run(
    run: ScenarioRun, installation: Installation, clients: int, ramp_s: float, send_timeout_s: float
) -> None:
    await asyncio.gather(*(installation.send(RequestPlan(id=f"warm-{number}"), key=number % 8) for number in range(20)))
    (worker,) = installation.gateway.worker_pids()
    memory_before = _resident_bytes(worker)
    results = [
        asyncio.create_task(
            installation.send(
                RequestPlan(id=f"reader-{number:04d}", events=EVENTS, characters=EVENT_CHARACTERS),
                after_s=number * ramp_s / clients,
                bytes_per_s=BYTES_PER_S,
            )
        )
        for number in range(clients)
    ]
    peak = memory_before
    started_at = time.monotonic()
    while time.monotonic() < started_at + ramp_s + send_timeout_s + TIMEOUT_MARGIN_S:
        peak = max(peak, _resident_bytes(worker))
        await asyncio.sleep(0.25)
    await installation.all_settled(within_s=10)
    for result in results:
        result.cancel()  # reading the bytes in its kernel buffer would take hours
    await asyncio.gather(*results, return_exceptions=True)

    accounts = Accounts(installation, [])
    rows = [row for row in installation.ledger() if row["client_request_id"].startswith("reader-")]
    served = [request for request in installation.upstream.requests() if request.id.startswith("reader-")]
    timed_out_s = [row["duration_ms"] / 1000 for row in rows if row["status"] == "client_stalled"]
    sent = [request.sent_bytes for request in served]
    growth = (peak - memory_before) / clients
    run.figures |= {
        "requests": clients,
        "recorded as client_stalled": len(timed_out_s),
        "timed out after": f"{min(timed_out_s, default=0):.1f} to {max(timed_out_s, default=0):.1f} s",
        "memory per client": f"{growth / 1024:.0f} KiB",
        "sent by the upstream to each, maximum": f"{max(sent) / 2**20:.1f} MiB",
        "of": f"{EVENTS * EVENT_CHARACTERS / 10**6:.0f} MB",
    }
    run.expect(
        "every request has a usage record with the status client_stalled", len(rows) == len(timed_out_s) == clients
    )
    run.expect("memory grows by less than 0.5 MiB per client", growth < MEMORY_PER_CLIENT)
    run.expect(f"the upstream is throttled after {BUFFERED_BYTES // 2**20} MiB", max(sent) < BUFFERED_BYTES)
    run.expect("no client times out too early", timed_out_s and min(timed_out_s) >= send_timeout_s)
    run.expect_within(
        send_timeout_s + TIMEOUT_MARGIN_S, "a client without progress times out", max(timed_out_s, default=0)
    )
    run.expect("the upstream is freed", all(request.disconnected_at is not None for request in served))
    assert accounts.statuses == {}


def _resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096
