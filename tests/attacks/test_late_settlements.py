"""A request keeps its own settlement, whatever other hosts and the database do while it is in flight."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db.models import Q

from keys.models import Budget, BudgetPeriod, HourlyUsage, ModelPrice, UsageRecord
from keys.models.usage import part_names
from keys.usage import recovery
from lib import money
from tests.support.gateway import Gateway, wait_until
from tests.support.outage import database_unavailable
from tests.upstream import (
    Chunk,
    EndChunks,
    Head,
    Pause,
    RecordedRequest,
    anthropic_response,
    body_of,
    body_response,
    frames_of,
    replied,
)
from tests.upstream.steps import Step

PATH = "/api/v1/messages"
REQUEST: dict[str, Any] = {"model": "m", "max_tokens": 12, "messages": [{"role": "user", "content": "Hi"}]}
PAUSE_S = 1.5


def slowly(request: RecordedRequest) -> list[Step]:
    """Return a complete response after a pause, which a stream makes before its end."""
    if not request.is_streamed:
        return [Pause(PAUSE_S), *body_response(body_of(request))]
    *first, last = [Chunk(frame) for frame in frames_of(request)]
    return [Head(200, [("content-type", "text/event-stream")]), *first, Pause(PAUSE_S), last, EndChunks()]


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
def test_a_request_that_another_host_settles_as_interrupted_is_settled_late(gateway: Gateway, streamed: bool) -> None:
    """The other host believes that this one is lost: its clock is ahead, or this one was paused."""
    ModelPrice.objects.create(
        model_pattern="*", input_price=3_000_000, output_price=15_000_000, valid_from=datetime(2026, 1, 1, tzinfo=UTC)
    )
    Budget.objects.create(api_key=gateway.key, period="total", unit="usd", amount=10**9)
    gateway.upstream.queue(slowly)

    with ThreadPoolExecutor(1) as client:
        response = client.submit(gateway.post, PATH, REQUEST | {"stream": streamed})
        wait_until(lambda: UsageRecord.objects.filter(status="started").exists())
        recovery.settle_orphans(Q())
        estimate = UsageRecord.objects.get()
        assert response.result().status == 200

    assert (estimate.status, estimate.output_tokens) == ("interrupted", None)
    record = UsageRecord.objects.get()
    assert record.status == "completed" and record.interruption is not None
    assert record.cost_usd_picos is not None and record.output_tokens is not None
    assert record.interruption["cost_usd_picos"] == estimate.cost_usd_picos != record.cost_usd_picos
    micros, rest = money.split(record.cost_usd_picos)
    rollups = HourlyUsage.objects.values_list("status", "requests", *part_names("cost_usd_picos"), "output_tokens")
    assert list(rollups) == [("completed", 1, micros, rest, record.output_tokens)]
    assert list(BudgetPeriod.objects.values_list("spent", "spent_rest_picos", "reserved")) == [(micros, rest, 0)]


UNFIT: list[dict[str, Any]] = [
    {"stop_reason": {"a": 1}},
    {"stop_reason": ["a"]},
    {"stop_reason": 5},
    {"stop_reason": "\ud800"},
    {"id": {"a": 1}},
    {"id": "msg_\ud800\0"},
    {"id": "x" * 100_000},
    {"model": {"a": 1}},
    {"usage": {"input_tokens": {"a": 1}, "output_tokens": "5"}},
    {"usage": {"input_tokens": 2**80, "output_tokens": -(2**80)}},
    {"usage": {"input_tokens": 2**63 - 1, "output_tokens": 2**63 - 1}},
    {"usage": {"input_tokens": 1e308, "output_tokens": True}},
    {"usage": []},
    {"usage": "many"},
]


def test_poisoned_responses_and_an_outage_leave_no_record_open_and_heal_without_a_restart(gateway: Gateway) -> None:
    gateway.configure_upstream("anthropic")
    workers = gateway.server.worker_pids()

    def poisoned(values: dict[str, Any], pause_s: float = 0.0) -> Any:
        body = json.dumps(anthropic_response() | values).encode()
        return lambda request: [Pause(pause_s), *body_response(body)]

    for values in UNFIT:
        gateway.upstream.queue(poisoned(values))
        gateway.post(PATH, REQUEST)
    settled = len(gateway.settled(len(UNFIT)))
    for values in UNFIT[:4]:
        gateway.upstream.queue(poisoned(values, PAUSE_S))
    with ThreadPoolExecutor(4) as clients:
        responses = [clients.submit(gateway.post, PATH, REQUEST) for _ in range(4)]
        wait_until(lambda: UsageRecord.objects.filter(status="started").count() == 4)
        with database_unavailable():
            for response in responses:
                response.result()

    gateway.upstream.queue(replied())
    wait_until(lambda: gateway.post(PATH, REQUEST).status == 200)
    records = gateway.settled(settled + 5, within_s=20)
    assert {record.status for record in records} <= {"completed", "failed", "rejected"}
    assert gateway.server.worker_pids() == workers
