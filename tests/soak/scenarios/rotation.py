"""A key is rotated under load: the old secret works to its deadline and no longer, the new one from the start."""

import asyncio
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable

from tests.soak import callers
from tests.soak.books import Books, Run, play
from tests.soak.callers import Visit
from tests.soak.orders import Order
from tests.soak.site import Installation, Site
from tests.support import ROOT

BEFORE_S = 3
AFTER_S = 5
TTL_S = 5


def run(site: Site, *, requests_per_s: int, overlap_s: int) -> Run:
    """Call at a steady pace, rotate, go on with both secrets in turn until the old one has been refused for a while."""
    with site.installation(WEB_CONCURRENCY="2", CONFIG_CACHE_TTL_S=str(TTL_S)) as installation:
        return play(lambda run: _run(run, installation, requests_per_s, overlap_s))


async def _run(run: Run, installation: Installation, requests_per_s: int, overlap_s: int) -> None:
    old = installation.keys[0]
    raw_keys = [old]
    calling = asyncio.create_task(
        _call(installation, raw_keys, requests_per_s, for_s=BEFORE_S + overlap_s + TTL_S + AFTER_S)
    )
    await asyncio.sleep(BEFORE_S)
    raw_keys.append(await asyncio.to_thread(_rotate, installation, overlap_s))
    visits = await calling
    [secret] = installation.database.rows("SELECT expires_at FROM keys_keysecret WHERE expires_at IS NOT NULL")
    deadline = time.monotonic() + secret["expires_at"].timestamp() - time.time()

    books = Books(installation, [visit for visits_of_key in visits.values() for visit in visits_of_key])
    await installation.all_settled(within_s=5)
    books.balance(run)
    before = _statuses(visit for visit in visits[old] if visit.ended_at < deadline)
    after = _statuses(visit for visit in visits[old] if visit.sent_at > deadline + TTL_S)
    new = _statuses(visits[raw_keys[1]])
    run.figures |= {
        "old secret before its deadline": before,
        f"old secret {TTL_S} s after it": after,
        "new secret": new,
    }
    run.expect("no call with the old secret is refused before its deadline", set(before) == {200})
    run.expect(f"no call with the old secret is let in {TTL_S} s after it", set(after) == {401})
    run.expect("no call with the new secret is refused", set(new) == {200})


async def _call(
    installation: Installation, raw_keys: list[str], requests_per_s: int, *, for_s: float
) -> dict[str, list[Visit]]:
    """The visits by raw key. `raw_keys`, which are used in turn, may grow meanwhile."""
    begun = time.monotonic()
    running: list[tuple[str, asyncio.Task[Visit]]] = []
    while (number := len(running)) < for_s * requests_per_s:
        raw_key = raw_keys[number % len(raw_keys)]
        order = Order(id=f"call-{number:05d}", events=1, streamed=False)
        running.append((raw_key, asyncio.create_task(callers.call(installation.port, raw_key, order))))
        await asyncio.sleep(max(0.0, begun + number / requests_per_s - time.monotonic()))
    visits: dict[str, list[Visit]] = {}
    for raw_key, task in running:
        visits.setdefault(raw_key, []).append(await task)
    return visits


def _rotate(installation: Installation, overlap_s: int) -> str:
    """As an operator does in the shell. Return the new raw key."""
    [key] = installation.database.rows("SELECT public_id FROM keys_apikey WHERE name = %s", "soak 0")
    environment = os.environ | {"DATABASE_URL": installation.database.url, "STATE_DIR": str(installation.state)}
    command = [sys.executable, "manage.py", "rotate_key", key["public_id"], "--overlap", f"{overlap_s}s"]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _statuses(visits: Iterable[Visit]) -> dict[int | None, int]:
    return dict(Counter(visit.status for visit in visits))
