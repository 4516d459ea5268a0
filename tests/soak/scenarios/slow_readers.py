"""Callers who read a hundred bytes a second of ten megabytes: bounded memory, a throttled upstream, and a cut."""

import asyncio
import time
from pathlib import Path

from tests.soak.books import Books, Run, play
from tests.soak.orders import Order
from tests.soak.site import Installation, Site

BYTES_PER_S = 100
EVENT_CHARACTERS = 2_000
EVENTS = 5_000
MEMORY_A_CALLER = 512 * 1024
TAKEN_BYTES = 2 * 2**20  # of each answer, by all that lies between the upstream and the caller
CUT_MARGIN_S = 5.0


def run(site: Site, *, callers: int, ramp_s: float, stall_s: float) -> Run:
    """Let callers begin to read streams, and never finish."""
    with site.installation(CLIENT_SEND_TIMEOUT_S=str(stall_s)) as installation:
        return play(lambda run: _run(run, installation, callers, ramp_s, stall_s))


async def _run(run: Run, installation: Installation, callers: int, ramp_s: float, stall_s: float) -> None:
    await asyncio.gather(*(installation.call(Order(id=f"warm-{number}"), key=number % 8) for number in range(20)))
    (worker,) = installation.gateway.worker_pids()
    memory_before = _resident_bytes(worker)
    visits = [
        asyncio.create_task(
            installation.call(
                Order(id=f"reader-{number:04d}", events=EVENTS, characters=EVENT_CHARACTERS),
                after_s=number * ramp_s / callers,
                bytes_per_s=BYTES_PER_S,
            )
        )
        for number in range(callers)
    ]
    peak = memory_before
    begun = time.monotonic()
    while time.monotonic() < begun + ramp_s + stall_s + CUT_MARGIN_S:
        peak = max(peak, _resident_bytes(worker))
        await asyncio.sleep(0.25)
    await installation.all_settled(within_s=10)
    for visit in visits:
        visit.cancel()  # the kernel still holds bytes for it that it would read for hours
    await asyncio.gather(*visits, return_exceptions=True)

    books = Books(installation, [])
    rows = [row for row in installation.ledger() if row["client_request_id"].startswith("reader-")]
    served = [call for call in installation.upstream.calls() if call.id.startswith("reader-")]
    cut_s = [row["duration_ms"] / 1000 for row in rows if row["status"] == "client_stalled"]
    sent = [call.sent_bytes for call in served]
    growth = (peak - memory_before) / callers
    run.figures |= {
        "calls": callers,
        "rows client_stalled": len(cut_s),
        "cut after": f"{min(cut_s, default=0):.1f} to {max(cut_s, default=0):.1f} s",
        "memory a caller": f"{growth / 1024:.0f} KiB",
        "sent by the upstream to each, at most": f"{max(sent) / 2**20:.1f} MiB",
        "of": f"{EVENTS * EVENT_CHARACTERS / 10**6:.0f} MB",
    }
    run.expect("every call has a row, and every row says client_stalled", len(rows) == len(cut_s) == callers)
    run.expect("memory grows by less than 0.5 MiB a caller", growth < MEMORY_A_CALLER)
    run.expect(f"the upstream is throttled after {TAKEN_BYTES // 2**20} MiB", max(sent) < TAKEN_BYTES)
    run.expect("nobody is cut too early", cut_s and min(cut_s) >= stall_s)
    run.expect_within(stall_s + CUT_MARGIN_S, "who makes no progress is cut", max(cut_s, default=0))
    run.expect("the upstream is freed", all(call.left_at is not None for call in served))
    assert books.statuses == {}


def _resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096
