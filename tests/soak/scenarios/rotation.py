"""Scenario: a key is rotated under load. The previous secret works until it expires, the new one immediately."""

import asyncio
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable

from tests.soak import clients
from tests.soak.accounts import Accounts, ScenarioRun, play
from tests.soak.clients import ClientResult
from tests.soak.host import Host, Installation
from tests.soak.request_plan import RequestPlan
from tests.support import ROOT

BEFORE_S = 3
AFTER_S = 5
TTL_S = 5


def run(host: Host, *, requests_per_s: int, overlap_s: int) -> ScenarioRun:
    """Send requests at a fixed rate, rotate, and alternate both secrets until the old one is rejected."""
    with host.installation(WEB_CONCURRENCY="2", CONFIG_CACHE_TTL_S=str(TTL_S)) as installation:
        return play(lambda run: _run(run, installation, requests_per_s, overlap_s))


async def _run(run: ScenarioRun, installation: Installation, requests_per_s: int, overlap_s: int) -> None:
    old = installation.keys[0]
    raw_keys = [old]
    calling = asyncio.create_task(
        _call(installation, raw_keys, requests_per_s, for_s=BEFORE_S + overlap_s + TTL_S + AFTER_S)
    )
    await asyncio.sleep(BEFORE_S)
    raw_keys.append(await asyncio.to_thread(_rotate, installation, overlap_s))
    results = await calling
    [secret] = installation.database.rows("SELECT expires_at FROM keys_keysecret WHERE expires_at IS NOT NULL")
    expires_at = time.monotonic() + secret["expires_at"].timestamp() - time.time()

    accounts = Accounts(installation, [result for results_of_key in results.values() for result in results_of_key])
    await installation.all_settled(within_s=5)
    accounts.balance(run)
    before = _statuses(result for result in results[old] if result.ended_at < expires_at)
    after = _statuses(result for result in results[old] if result.sent_at > expires_at + TTL_S)
    new = _statuses(results[raw_keys[1]])
    run.figures |= {
        "previous secret before it expires": before,
        f"previous secret {TTL_S} s after": after,
        "new secret": new,
    }
    run.expect("no request with the previous secret is rejected before it expires", set(before) == {200})
    run.expect(f"no request with the previous secret is admitted {TTL_S} s after", set(after) == {401})
    run.expect("no request with the new secret is rejected", set(new) == {200})


async def _call(
    installation: Installation, raw_keys: list[str], requests_per_s: int, *, for_s: float
) -> dict[str, list[ClientResult]]:
    """Return the results by raw key. `raw_keys` are used in turn and may grow meanwhile."""
    started_at = time.monotonic()
    running: list[tuple[str, asyncio.Task[ClientResult]]] = []
    while (number := len(running)) < for_s * requests_per_s:
        raw_key = raw_keys[number % len(raw_keys)]
        plan = RequestPlan(id=f"request-{number:05d}", events=1, streamed=False)
        running.append((raw_key, asyncio.create_task(clients.send(installation.port, raw_key, plan))))
        await asyncio.sleep(max(0.0, started_at + number / requests_per_s - time.monotonic()))
    results: dict[str, list[ClientResult]] = {}
    for raw_key, task in running:
        results.setdefault(raw_key, []).append(await task)
    return results


def _rotate(installation: Installation, overlap_s: int) -> str:
    """Rotate with the management command. Return the new raw key."""
    [key] = installation.database.rows("SELECT public_id FROM keys_apikey WHERE name = %s", "soak 0")
    environment = os.environ | {"DATABASE_URL": installation.database.url, "STATE_DIR": str(installation.state)}
    command = [sys.executable, "manage.py", "rotate_key", key["public_id"], "--overlap", f"{overlap_s}s"]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _statuses(results: Iterable[ClientResult]) -> dict[int | None, int]:
    return dict(Counter(result.status for result in results))
