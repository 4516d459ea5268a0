"""Limits of a running gateway: what clients see, and what the usage records hold."""

import os
import signal
import socket
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anthropic
import pytest

from keys.models import Team, UsageRecord
from tests.keys.limits.limiters import remaining
from tests.support.gateway import ApiResponse, Gateway, GatewayServer, get, read_until, wait_until
from tests.support.outage import database_unavailable
from tests.upstream import Chunk, Head, RecordedRequest, WaitForPeer, failure, frames_of
from tests.upstream.steps import Step

ENVELOPE, ANTHROPIC = "/api/v1/messages", "/api/anthropic/v1/messages"
PLAIN: dict[str, Any] = {"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}]}
STREAMED = PLAIN | {"stream": True}
RATE_LIMIT_HEADERS = {
    f"anthropic-ratelimit-{kind}-{what}" for kind in ("requests", "tokens") for what in ("limit", "remaining", "reset")
}
HELLO_TOKENS = 21  # of the scripted response: 9 input, 12 output

both_apis = pytest.mark.parametrize("path", [ENVELOPE, ANTHROPIC])
both_ways = pytest.mark.parametrize("body", [PLAIN, STREAMED], ids=["plain", "streamed"])


def limit(gateway: Gateway, **rules: Any) -> None:
    for name, value in rules.items():
        setattr(gateway.key, name, value)
    gateway.key.save()


def bearer(raw: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {raw}"}


def x_api_key(raw: str) -> dict[str, str]:
    return {"x-api-key": raw}


def error_of(answer: ApiResponse) -> Any:
    body = answer.json()
    return body["data"]["error"] if "data" in body else body["error"]


def unending(call: RecordedRequest) -> list[Step]:
    """Send the start of a stream, and no end."""
    return [Head(headers={"content-type": "text/event-stream"}), *map(Chunk, frames_of(call)[:3]), WaitForPeer()]


def open_stream(gateway: Gateway) -> socket.socket:
    """Open a stream that never ends. The test closes the connection."""
    gateway.upstream.queue(unending)
    connection = gateway.open(ENVELOPE, STREAMED)
    read_until(connection, b"Hello")
    return connection


# ---- Rejections.


@both_apis
@both_ways
@pytest.mark.parametrize("headers", [bearer, x_api_key], ids=["Bearer", "x-api-key"])
def test_a_request_over_the_limit_is_a_429_in_the_api_format_and_contacts_no_upstream(
    limited: Gateway, path: str, body: dict[str, Any], headers: Callable[[str], dict[str, str]]
) -> None:
    limit(limited, requests_per_minute=1)
    first = limited.post(path, body, headers=headers(limited.raw_key))

    answer = limited.post(path, body, headers=headers(limited.raw_key))

    message = "Rate limit exceeded: 1 request per minute for this API key. Retry after 60 s."
    assert (first.status, answer.status) == (200, 429)
    if path == ENVELOPE:
        error = {"type": "rate_limit_error", "message": message, "param": None}
        data = {"error": error, "request_id": answer.headers["request-id"]}
        assert answer.json() == {"success": False, "code": "429", "message": message, "data": data}
    else:
        error = {"type": "rate_limit_error", "message": message}
        assert answer.json() == {"type": "error", "error": error, "request_id": answer.headers["request-id"]}
    assert answer.headers["retry-after"] == "60"
    assert answer.headers["anthropic-ratelimit-requests-limit"] == "1"
    assert remaining(answer.headers) == (0, None)
    assert len(limited.upstream.requests) == 1
    limited.settled(2)


def test_a_rejected_request_is_recorded_with_the_exceeded_limit(limited: Gateway) -> None:
    limit(limited, tokens_per_minute=30)
    limited.post(ENVELOPE, PLAIN)

    answer = limited.post(ENVELOPE, PLAIN)

    limited.settled(2)
    row = UsageRecord.objects.get(id=answer.headers["request-id"])
    assert (row.status, row.http_status, row.error_type, row.usage_source) == (
        "rejected",
        429,
        "rate_limit_error",
        "none",
    )
    assert row.limit_exceeded == {
        "scope": "key",
        "limit": "tokens_per_minute",
        "value": 30,
        "reset": answer.headers["anthropic-ratelimit-tokens-reset"],
        "shadow": False,
    }
    assert UsageRecord.objects.exclude(id=row.id).get().limit_exceeded is None


def test_team_limits_apply_to_all_its_keys_combined(limited: Gateway) -> None:
    team = Team.objects.create(name="research", requests_per_minute=2)
    keys = [type(limited.key).objects.issue(name=name, team=team)[1] for name in ("one", "two", "three")]

    answers = [limited.post(ENVELOPE, PLAIN, headers=bearer(raw)) for raw in keys]

    assert [answer.status for answer in answers] == [200, 200, 429]
    assert error_of(answers[2])["message"].startswith(
        "Rate limit exceeded: 2 requests per minute for the team of this API key."
    )
    limited.settled(3)


def test_concurrent_requests_are_limited_exactly_across_workers(limited: Gateway) -> None:
    limit(limited, requests_per_minute=5)

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: limited.post(ENVELOPE, PLAIN), range(32)))

    assert Counter(answer.status for answer in answers) == {200: 5, 429: 27}, {answer.body for answer in answers}
    limited.settled(32)


# ---- Order of checks.


def route_only_m(gateway: Gateway) -> None:
    gateway.upstream_row.targets.all().delete()
    gateway.add_route("m", gateway.upstream_row)


def test_requests_per_minute_are_checked_before_the_body_is_read(limited: Gateway) -> None:
    limit(limited, requests_per_minute=1, allowed_models=["m", "missing"])
    route_only_m(limited)
    assert limited.post(ENVELOPE, PLAIN).status == 200

    bodies = [b"{", *(PLAIN | {"model": model} for model in ("forbidden", "missing", "m"))]
    answers = [limited.post(ENVELOPE, body) for body in bodies]

    assert [answer.status for answer in answers] == [429] * 4
    limited.settled(5)
    rows = UsageRecord.objects.filter(status="rejected")
    assert {(row.model, row.is_model_known, row.streamed, row.estimated_input_tokens) for row in rows} == {
        ("", False, False, None)
    }


def test_tokens_per_minute_are_checked_between_the_models_and_the_route(limited: Gateway) -> None:
    limit(limited, tokens_per_minute=HELLO_TOKENS, allowed_models=["m", "missing"])
    route_only_m(limited)
    assert limited.post(ENVELOPE, PLAIN).status == 200

    bodies = [b"{", *(PLAIN | {"model": model} for model in ("forbidden", "missing", "m"))]
    answers = [limited.post(ENVELOPE, body) for body in bodies]

    assert [answer.status for answer in answers] == [400, 403, 429, 429]
    limited.settled(4)


@pytest.mark.parametrize("raw", [b"{", b"[]", b'{"model":"m"}'])
def test_a_request_with_an_invalid_body_counts_as_one(limited: Gateway, raw: bytes) -> None:
    limit(limited, requests_per_minute=2, concurrent_requests=1)

    answers = [limited.post(ENVELOPE, body) for body in (raw, PLAIN, PLAIN)]

    assert [answer.status for answer in answers] == [400, 200, 429]
    assert remaining(answers[1].headers)[0] == 0
    limited.settled(2)


def test_a_request_holds_its_slot_while_its_body_arrives(limited: Gateway) -> None:
    limit(limited, concurrent_requests=1)
    with limited.begin(ENVELOPE, length=100, start=b'{"model":'):
        wait_until(lambda: limited.post(ENVELOPE, PLAIN).status == 429)

    wait_until(lambda: limited.post(ENVELOPE, PLAIN).status == 200)


def test_a_request_that_is_not_admitted_consumes_nothing(limited: Gateway) -> None:
    limit(limited, requests_per_minute=1, tokens_per_minute=100, concurrent_requests=1)
    route_only_m(limited)

    missing = limited.post(ENVELOPE, PLAIN | {"model": "missing"})
    with database_unavailable():
        unrecorded = limited.post(ENVELOPE, PLAIN)
    wait_until(lambda: get(limited.port, "/readyz").status == 200)
    answer = limited.post(ENVELOPE, PLAIN)

    assert (missing.status, unrecorded.status, answer.status) == (404, 503, 200)
    assert remaining(answer.headers)[0] == 0
    assert is_about(remaining(answer.headers)[1], 100 - HELLO_TOKENS)
    assert not RATE_LIMIT_HEADERS & set(missing.headers)
    limited.settled(2)


# ---- Rate-limit headers.


@both_apis
def test_a_plain_response_reports_the_remaining_units_after_it(limited: Gateway, path: str) -> None:
    limit(limited, requests_per_minute=10, tokens_per_minute=100)

    first, second = limited.post(path, PLAIN), limited.post(path, PLAIN)

    assert set(first.headers) >= RATE_LIMIT_HEADERS
    assert [remaining(answer.headers)[0] for answer in (first, second)] == [9, 8]
    assert is_about(remaining(first.headers)[1], 100 - HELLO_TOKENS)
    assert is_about(remaining(second.headers)[1], 100 - 2 * HELLO_TOKENS)


def is_about(tokens: int | None, expected: int) -> bool:
    """Return whether so many of 100 are remaining, or a few more, which were refilled meanwhile."""
    return tokens is not None and expected <= tokens <= expected + 5


@both_apis
def test_a_stream_reports_the_remaining_units_while_it_is_in_flight(limited: Gateway, path: str) -> None:
    limit(limited, requests_per_minute=10, tokens_per_minute=100)

    first = limited.post(path, STREAMED)
    second = limited.post(path, PLAIN)

    held = 100 - (remaining(first.headers)[1] or 0)
    assert 64 < held < 80  # the estimate of the input, and max_tokens
    assert is_about(remaining(second.headers)[1], 100 - 2 * HELLO_TOKENS)


@both_apis
@both_ways
def test_an_error_response_reports_the_remaining_units(limited: Gateway, path: str, body: dict[str, Any]) -> None:
    limit(limited, requests_per_minute=10, tokens_per_minute=1_000)
    limited.upstream.queue(failure(400, "What the upstream said."))

    answer = limited.post(path, body)

    assert answer.status == 400
    assert remaining(answer.headers) == (9, 1_000)  # rejected by the upstream: no tokens were used


def test_a_key_without_limits_has_no_rate_limit_headers(limited: Gateway) -> None:
    assert not RATE_LIMIT_HEADERS & set(limited.post(ENVELOPE, PLAIN).headers)


# ---- Concurrent requests.


def test_a_stream_holds_its_slot_until_the_client_disconnects(limited: Gateway) -> None:
    limit(limited, concurrent_requests=1)
    connection = open_stream(limited)
    answer = limited.post(ENVELOPE, PLAIN)

    connection.close()

    assert answer.status == 429
    assert error_of(answer)["message"] == (
        "Concurrency limit exceeded: 1 concurrent request for this API key. Retry when one finishes."
    )
    assert answer.headers["retry-after"] == "1"
    requests = 2 + requests_until_one_is_admitted(limited, within_s=2)
    limited.settled(requests)


def test_the_slot_is_free_once_the_client_has_the_whole_response(limited: Gateway) -> None:
    limit(limited, concurrent_requests=1)

    answers = [limited.post(ENVELOPE, body) for body in [PLAIN, STREAMED] * 5]

    assert [answer.status for answer in answers] == [200] * 10


def test_the_slot_of_a_killed_worker_expires(limited: Gateway) -> None:
    limit(limited, concurrent_requests=1)
    connection = open_stream(limited)
    workers = limited.server.worker_pids()

    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    wait_until(lambda: are_new(limited.server, workers), within_s=15)

    requests = 1 + requests_until_one_is_admitted(limited, within_s=20)
    connection.close()
    limited.settled(requests)


def requests_until_one_is_admitted(gateway: Gateway, *, within_s: float) -> int:
    """Return how many requests it took."""
    statuses = []

    def is_admitted() -> bool:
        statuses.append(gateway.post(ENVELOPE, PLAIN).status)
        return statuses[-1] == 200

    wait_until(is_admitted, within_s=within_s)
    return len(statuses)


def are_new(server: GatewayServer, workers: list[int]) -> bool:
    pids = server.worker_pids()
    return len(pids) == len(workers) and not set(pids) & set(workers) and is_ready(server.port)


def is_ready(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# ---- Shadow mode.


def test_a_shadow_limit_rejects_nothing_is_not_in_the_headers_and_is_recorded(limited: Gateway) -> None:
    limit(limited, requests_per_minute=1, shadow_mode=True)

    answers = [limited.post(ENVELOPE, PLAIN) for _ in range(2)]

    assert [answer.status for answer in answers] == [200, 200]
    assert not any(RATE_LIMIT_HEADERS & set(answer.headers) for answer in answers)
    limited.settled(2)
    exceeded = {row.id: row.limit_exceeded for row in UsageRecord.objects.filter(status="completed")}
    first, second = (exceeded[answer.headers["request-id"]] for answer in answers)
    assert first is None
    assert second is not None and second.pop("reset")
    assert second == {"scope": "key", "limit": "requests_per_minute", "value": 1, "shadow": True}


# ---- The official client.


def use_up(gateway: Gateway) -> int:
    """Send requests until one is rejected. Return their number."""
    requests = 1
    while gateway.post(ANTHROPIC, PLAIN).status == 200:
        requests += 1
    return requests


def test_the_official_client_raises_its_rate_limit_error(limited: Gateway) -> None:
    limit(limited, requests_per_minute=2)
    requests = use_up(limited)

    with (
        anthropic.Anthropic(base_url=f"{limited.url}/api/anthropic", api_key=limited.raw_key, max_retries=0) as client,
        pytest.raises(anthropic.RateLimitError) as caught,
    ):
        client.messages.create(**PLAIN)

    assert caught.value.response.headers["anthropic-ratelimit-requests-remaining"] == "0"
    limited.settled(requests + 1)


def test_the_official_client_retries_after_the_given_time_and_succeeds(limited: Gateway) -> None:
    limit(limited, requests_per_minute=20)
    requests = use_up(limited)

    with anthropic.Anthropic(base_url=f"{limited.url}/api/anthropic", api_key=limited.raw_key, max_retries=1) as client:
        message = client.messages.create(**PLAIN)

    assert message.content[0].text == "Hello, world!"
    limited.settled(requests + 2)
