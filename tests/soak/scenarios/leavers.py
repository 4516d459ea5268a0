"""Callers who leave at random moments, in every way there is: the upstream is freed, and every row says so."""

import asyncio
import random
from pathlib import Path

from tests.soak.books import Books, Run, play
from tests.soak.callers import Leaving, Visit
from tests.soak.orders import Order
from tests.soak.site import Installation, Site

FREED_WITHIN_S = 1.0
HOWS = ("close", "half-close", "reset")
LONGEST_STAY_S = 6.0
LISTENING = "0A"


def run(site: Site, *, callers: int, ramp_s: float) -> Run:
    """Let callers of streams and plain calls leave before the first event, in the middle, or just before the end."""
    with site.installation() as installation:
        return play(lambda run: _run(run, installation, callers, ramp_s))


async def _run(run: Run, installation: Installation, callers: int, ramp_s: float) -> None:
    visits = await asyncio.gather(
        *(
            installation.call(_order(number), after_s=number * ramp_s / callers, leaving=_leaving())
            for number in range(callers)
        )
    )
    await installation.all_settled(within_s=10)
    await asyncio.sleep(1)

    books = Books(installation, visits)
    books.balance(run)
    freed_s = [
        call.left_at - visit.left_at
        for visit in visits
        if visit.left_at and (call := books.served.get(visit.id)) and call.left_at
    ]
    gone = [visit for visit in visits if visit.left_at and not visit.is_done]
    held = [visit.id for visit in gone if (call := books.served.get(visit.id)) and not (call.left_at or call.ended_at)]
    run.figures |= {
        "left before their end": len(gone),
        "of these before the first byte": sum(visit.first_at is None for visit in gone),
        "upstream freed after, at most": f"{max(freed_s):.2f} s",
        "never freed": len(held),
        "rows client_closed of those who left": sum(books.status(visit.id) == "client_closed" for visit in gone),
        "sockets left open": _open_sockets(installation, books),
    }
    run.expect_within(FREED_WITHIN_S, "the upstream is freed", max(freed_s))
    run.expect("every upstream connection is freed", not held)
    run.expect("who left is client_closed, unless the whole answer was out", all(_is_told(books, v) for v in gone))
    run.expect("no socket is left open", not _open_sockets(installation, books))


def _order(number: int) -> Order:
    """Silence, events, or both: as long as the longest stay, or a little longer."""
    silent_s = random.choice((0.0, 2.0))
    return Order(
        id=f"caller-{number:04d}",
        silent_s=silent_s,
        events=random.randint(10, 14),
        every_s=(LONGEST_STAY_S - silent_s) / 10,
        streamed=number % 4 != 0,
    )


def _leaving() -> Leaving:
    return Leaving(after_s=random.uniform(0.005, LONGEST_STAY_S), how=random.choice(HOWS))


def _is_told(books: Books, visit: Visit) -> bool:
    status = books.status(visit.id)
    if status == "completed":  # the upstream had given it all, and the caller left before it read the end
        return books.served[visit.id].ended_at is not None
    return status == "client_closed" or (status == "missing" and visit.id not in books.served)


def _open_sockets(installation: Installation, books: Books) -> int:
    """Those to callers, and those to the upstream beyond the ones that whole answers leave for the next call.

    An answer may have come whole, and its caller may have left before it read the end.
    """
    whole = sum(call.ended_at is not None for call in books.served.values())
    return _connections(installation.port) + max(0, installation.upstream.open_connections() - whole)


def _connections(port: int) -> int:
    """How many connections to a port of this machine are held by its server."""
    held = 0
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        address, state, inode = fields[1], fields[3], fields[9]
        held += int(address.split(":")[1], 16) == port and state != LISTENING and inode != "0"
    return held
