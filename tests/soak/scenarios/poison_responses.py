"""Scenario: upstream responses with a value of a wrong type in each field, and an outage of the database meanwhile."""

import asyncio
import json
import time
from collections import Counter
from typing import Any

from tests.soak.accounts import Accounts, ScenarioRun, play
from tests.soak.clients import ClientResult
from tests.soak.host import Host, Installation
from tests.soak.request_plan import RequestPlan

CONCURRENT = 20
RECOVERED_WITHIN_S = 5.0
SERVES_WITHIN_S = 20.0
PATHS: list[list[str | int]] = [
    ["id"],
    ["object"],
    ["created"],
    ["model"],
    ["choices"],
    ["choices", 0],
    ["choices", 0, "index"],
    ["choices", 0, "finish_reason"],
    ["choices", 0, "message"],
    ["choices", 0, "message", "role"],
    ["choices", 0, "message", "content"],
    ["choices", 0, "delta"],
    ["choices", 0, "delta", "content"],
    ["choices", 0, "delta", "tool_calls"],
    ["usage"],
    ["usage", "prompt_tokens"],
    ["usage", "completion_tokens"],
    ["usage", "prompt_tokens_details"],
    ["usage", "completion_tokens_details"],
]
NUMBERS = [True, -1, 2**80, 1.5, 1e308]
TEXTS = ["text", "\ud800", "a\0b", "x" * 10_000]
VALUES: list[Any] = [None, *NUMBERS, *TEXTS, [], ["a"], [None], {}, {"a": 1}, [[[[1]]]]]


def run(host: Host, *, every: int, outage_s: float) -> ScenarioRun:
    """Send each `every`-th combination of field and value, plain and streamed."""
    with host.installation() as installation:
        return play(lambda run: _run(run, installation, every, outage_s))


async def _run(run: ScenarioRun, installation: Installation, every: int, outage_s: float) -> None:
    workers = installation.gateway.worker_pids()
    poisons = [json.dumps([path, value]) for path in PATHS for value in VALUES][::every]
    plans = [
        RequestPlan(id=f"{kind}-{number:03d}", poison=poison, streamed=kind == "streamed")
        for kind in ("plain", "streamed")
        for number, poison in enumerate(poisons)
    ]
    results = await _send(installation, plans)
    open_streams = asyncio.gather(*map(installation.send, _through_the_outage(poisons, outage_s)))
    await asyncio.sleep(1)
    await asyncio.to_thread(installation.host.postgres.stop)
    await asyncio.sleep(outage_s)
    await asyncio.to_thread(installation.host.postgres.start)
    up_at = time.monotonic()
    await _serves_again(installation)
    recovered_s = time.monotonic() - up_at
    results += await open_streams
    results += await _send(installation, [RequestPlan(id=f"good-{n:03d}", streamed=n % 2 == 0) for n in range(40)])
    await installation.all_settled(within_s=20)

    accounts = Accounts(installation, results)
    accounts.balance(run)
    good = [result for result in results if result.id.startswith("good")]
    run.figures |= {
        "poisoned responses": len(results) - len(good),
        "responses": dict(Counter(str(result.status or result.connection_error) for result in results).most_common()),
        "first success after the outage": f"{recovered_s:.1f} s",
        "spooled at the end": installation.spooled(),
    }
    run.expect("no response is an internal error", all(result.status != 500 for result in results))
    run.expect("good requests succeed afterwards", all(result.is_done for result in good))
    run.expect_within(RECOVERED_WITHIN_S, "after the outage, requests succeed", recovered_s)
    run.expect("no record is interrupted or quarantined", _are_settled(installation, accounts))
    run.expect("no worker was restarted", installation.gateway.worker_pids() == workers)


async def _send(installation: Installation, plans: list[RequestPlan]) -> list[ClientResult]:
    places = asyncio.Semaphore(CONCURRENT)

    async def send(plan: RequestPlan) -> ClientResult:
        async with places:
            return await installation.send(plan)

    return list(await asyncio.gather(*map(send, plans)))


def _through_the_outage(poisons: list[str], outage_s: float) -> list[RequestPlan]:
    """Return streams that end during the outage, poisoned in their last chunks."""
    of_usage = [poison for poison in poisons if '["usage"' in poison or "finish_reason" in poison or '["id"]' in poison]
    return [
        RequestPlan(id=f"outage-{n:03d}", poison=poison, events=3, every_s=(outage_s / 2 + 1) / 3)
        for n, poison in enumerate(of_usage)
    ]


async def _serves_again(installation: Installation) -> None:
    deadline = time.monotonic() + SERVES_WITHIN_S
    number = 0
    while (await installation.send(RequestPlan(id=f"again-{number}"))).status != 200 and time.monotonic() < deadline:
        number += 1
        await asyncio.sleep(0.1)


def _are_settled(installation: Installation, accounts: Accounts) -> bool:
    quarantined = list((installation.state / "spool").glob("quarantine*"))
    return "interrupted" not in accounts.statuses and not quarantined and installation.spooled() == 0
