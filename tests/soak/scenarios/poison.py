"""Scenario: records that the database rejects, among a hundred in the same batches. The others are stored."""

import asyncio
from typing import Any

from tests.soak.accounts import Accounts, ScenarioRun, play
from tests.soak.host import Host, Installation
from tests.soak.request_plan import RequestPlan

NO_ROW = "no-row"
NO_SETTLEMENT = "no-settlement"
UNUSUAL_IP = "unusual-ip"
LAST_KEY = -1
Sent = tuple[RequestPlan, dict[str, Any]]


def run(host: Host, *, requests: int) -> ScenarioRun:
    """Send concurrent requests: with a deleted secret, with a settlement that fails, and from an unusual IP address."""
    with host.installation(TRUSTED_PROXIES="127.0.0.1") as installation:
        return play(lambda run: _run(run, installation, requests))


async def _run(run: ScenarioRun, installation: Installation, requests: int) -> None:
    await _prepare(installation)
    poisoned: list[Sent] = [
        (RequestPlan(id=NO_ROW, streamed=False), {"key": LAST_KEY}),
        (RequestPlan(id=NO_SETTLEMENT, streamed=False), {}),
        (RequestPlan(id=UNUSUAL_IP, streamed=False), {"headers": {"X-Forwarded-For": "fe80::1%eth0"}}),
    ]
    good: list[Sent] = [
        (RequestPlan(id=f"good-{number:04d}", streamed=False), {}) for number in range(requests - len(poisoned))
    ]
    mixed = [*good[: requests // 2], *poisoned, *good[requests // 2 :]]

    results = await asyncio.gather(*(installation.send(plan, **how) for plan, how in mixed))
    await installation.all_settled(within_s=30)

    accounts = Accounts(installation, (result for result in results if result.id not in (NO_ROW, NO_SETTLEMENT)))
    accounts.balance(run)
    http_status = {result.id: result.status for result in results}
    quarantine = (installation.state / "spool" / "quarantine.jsonl").read_text()
    status = {row["client_request_id"]: row["status"] for row in installation.ledger()}
    run.figures |= {
        "good records stored": sum(accounts.status(plan.id) == "completed" for plan, _ in good),
        "request without a record": http_status[NO_ROW],
        "request without a settlement": f"{status[NO_SETTLEMENT]}, quarantined: {NO_SETTLEMENT in quarantine}",
        "request from an unusual IP address": accounts.status(UNUSUAL_IP),
        "slowest response": f"{max(result.took_s for result in results):.2f} s",
    }
    run.expect("every good request is stored", all(accounts.status(plan.id) == "completed" for plan, _ in good))
    run.expect("a request without a record is rejected", http_status[NO_ROW] == 503 and NO_ROW not in status)
    run.expect("a settlement that fails is quarantined", quarantine.count("\n") == 1 and NO_SETTLEMENT in quarantine)
    run.expect("and its record does not stay open", status[NO_SETTLEMENT] == "interrupted")
    run.expect("an IP address with a zone is valid", accounts.status(UNUSUAL_IP) == "completed")


async def _prepare(installation: Installation) -> None:
    """Cache a key in the gateway and delete its secret, and make the database reject one settlement."""
    await _cache_key(installation, installation.keys[LAST_KEY])
    secret = "(SELECT max(id) FROM keys_keysecret)"
    installation.database.rows(f"DELETE FROM keys_keysecret WHERE id = {secret}")
    installation.database.rows(
        "ALTER TABLE keys_usagerecord ADD CONSTRAINT poison "
        f"CHECK (client_request_id <> '{NO_SETTLEMENT}' OR message_id = '')"
    )


async def _cache_key(installation: Installation, raw_key: str) -> None:
    """Send a request without a usage record, so that the gateway caches the key."""
    reader, writer = await asyncio.open_connection("127.0.0.1", installation.port)
    head = (
        f"GET /api/anthropic/v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\nx-api-key: {raw_key}\r\nConnection: close\r\n\r\n"
    )
    writer.write(head.encode())
    response = await reader.read()
    writer.close()
    assert response.startswith(b"HTTP/1.1 200"), response[:200]
