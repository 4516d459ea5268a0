"""Limits of a running gateway: what callers see of them, and what is written down."""

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
from tests.support.gateway import Answer, Gateway, GatewayServer, get, read_until, wait_until
from tests.support.outage import database_unavailable
from tests.upstream import Chunk, Head, RecordedRequest, WaitForPeer, failure, frames_of
from tests.upstream.steps import Step

ENVELOPE, NATIVE = "/api/v1/messages", "/api/anthropic/v1/messages"
PLAIN: dict[str, Any] = {"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}]}
STREAMED = PLAIN | {"stream": True}
RATE_LIMIT_HEADERS = {
    f"anthropic-ratelimit-{kind}-{what}" for kind in ("requests", "tokens") for what in ("limit", "remaining", "reset")
}
HELLO_TOKENS = 21  # of the scripted answer: 9 in, 12 out

both_lanes = pytest.mark.parametrize("path", [ENVELOPE, NATIVE])
both_ways = pytest.mark.parametrize("body", [PLAIN, STREAMED], ids=["plain", "streamed"])


def limit(gateway: Gateway, **rules: Any) -> None:
    for name, value in rules.items():
        setattr(gateway.key, name, value)
    gateway.key.save()


def bearer(raw: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {raw}"}


def x_api_key(raw: str) -> dict[str, str]:
    return {"x-api-key": raw}


def error_of(answer: Answer) -> Any:
    body = answer.json()
    return body["data"]["error"] if "data" in body else body["error"]


def unending(call: RecordedRequest) -> list[Step]:
    """The beginning of a stream, and no end."""
    return [Head(headers={"content-type": "text/event-stream"}), *map(Chunk, frames_of(call)[:3]), WaitForPeer()]


def open_stream(gateway: Gateway) -> socket.socket:
    """A stream that runs until somebody ends it. Whoever opens it closes it."""
    gateway.upstream.queue(unending)
    connection = gateway.open(ENVELOPE, STREAMED)
    read_until(connection, b"Hello")
    return connection


# ---- a refusal


@both_lanes
@both_ways
@pytest.mark.parametrize("headers", [bearer, x_api_key], ids=["Bearer", "x-api-key"])
def test_a_call_over_the_limit_is_a_429_in_the_words_of_the_lane_and_asks_no_upstream(
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


def test_it_is_written_down_with_the_limit_that_refused(limited: Gateway) -> None:
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


def test_the_limits_of_a_team_hold_for_all_its_keys_together(limited: Gateway) -> None:
    team = Team.objects.create(name="research", requests_per_minute=2)
    keys = [type(limited.key).objects.issue(name=name, team=team)[1] for name in ("one", "two", "three")]

    answers = [limited.post(ENVELOPE, PLAIN, headers=bearer(raw)) for raw in keys]

    assert [answer.status for answer in answers] == [200, 200, 429]
    assert error_of(answers[2])["message"].startswith(
        "Rate limit exceeded: 2 requests per minute for the team of this API key."
    )
    limited.settled(3)


def test_of_many_calls_at_once_as_many_get_through_as_may_whichever_worker_they_reach(limited: Gateway) -> None:
    limit(limited, requests_per_minute=5)

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: limited.post(ENVELOPE, PLAIN), range(32)))

    assert Counter(answer.status for answer in answers) == {200: 5, 429: 27}, {answer.body for answer in answers}
    limited.settled(32)


# ---- what comes first


def test_what_is_not_permitted_is_said_before_what_is_too_much_and_that_before_what_is_not_there(
    limited: Gateway,
) -> None:
    limit(limited, requests_per_minute=1, allowed_models=["m", "missing"])
    limited.upstream_row.targets.all().delete()
    limited.add_route("m", limited.upstream_row)
    assert limited.post(ENVELOPE, PLAIN).status == 200

    answers = [limited.post(ENVELOPE, PLAIN | {"model": model}).status for model in ("forbidden", "missing", "m")]

    assert answers == [403, 429, 429]
    limited.settled(4)


def test_a_call_that_was_not_admitted_takes_nothing(limited: Gateway) -> None:
    limit(limited, requests_per_minute=1, tokens_per_minute=100, concurrent_requests=1)
    limited.upstream_row.targets.all().delete()
    limited.add_route("m", limited.upstream_row)

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


# ---- every answer says how the limits stand


@both_lanes
def test_a_plain_answer_says_what_is_left_after_it(limited: Gateway, path: str) -> None:
    limit(limited, requests_per_minute=10, tokens_per_minute=100)

    first, second = limited.post(path, PLAIN), limited.post(path, PLAIN)

    assert set(first.headers) >= RATE_LIMIT_HEADERS
    assert [remaining(answer.headers)[0] for answer in (first, second)] == [9, 8]
    assert is_about(remaining(first.headers)[1], 100 - HELLO_TOKENS)
    assert is_about(remaining(second.headers)[1], 100 - 2 * HELLO_TOKENS)


def is_about(tokens: int | None, expected: int) -> bool:
    """Whether so many are left of 100, or a few more, which have come back in the meantime."""
    return tokens is not None and expected <= tokens <= expected + 5


@both_lanes
def test_a_stream_says_what_is_left_while_it_runs(limited: Gateway, path: str) -> None:
    limit(limited, requests_per_minute=10, tokens_per_minute=100)

    first = limited.post(path, STREAMED)
    second = limited.post(path, PLAIN)

    held = 100 - (remaining(first.headers)[1] or 0)
    assert 64 < held < 80  # the estimate of the input, and max_tokens
    assert is_about(remaining(second.headers)[1], 100 - 2 * HELLO_TOKENS)


@both_lanes
@both_ways
def test_an_answer_that_tells_of_a_failure_does_so_too(limited: Gateway, path: str, body: dict[str, Any]) -> None:
    limit(limited, requests_per_minute=10, tokens_per_minute=1_000)
    limited.upstream.queue(failure(400, "What the upstream said."))

    answer = limited.post(path, body)

    assert answer.status == 400
    assert remaining(answer.headers) == (9, 1_000)  # refused by the upstream: it used nothing


def test_a_key_without_limits_has_no_such_headers(limited: Gateway) -> None:
    assert not RATE_LIMIT_HEADERS & set(limited.post(ENVELOPE, PLAIN).headers)


# ---- calls at once


def test_a_stream_holds_its_place_until_its_caller_leaves(limited: Gateway) -> None:
    limit(limited, concurrent_requests=1)
    connection = open_stream(limited)
    answer = limited.post(ENVELOPE, PLAIN)

    connection.close()

    assert answer.status == 429
    assert error_of(answer)["message"] == (
        "Concurrency limit exceeded: 1 concurrent request for this API key. Retry when one finishes."
    )
    assert answer.headers["retry-after"] == "1"
    calls = 2 + calls_until_one_gets_through(limited, within_s=2)
    limited.settled(calls)


def test_who_has_seen_the_end_of_an_answer_finds_its_place_free(limited: Gateway) -> None:
    limit(limited, concurrent_requests=1)

    answers = [limited.post(ENVELOPE, body) for body in [PLAIN, STREAMED] * 5]

    assert [answer.status for answer in answers] == [200] * 10


def test_a_stream_whose_worker_was_killed_gives_its_place_back(limited: Gateway) -> None:
    limit(limited, concurrent_requests=1)
    connection = open_stream(limited)
    workers = limited.server.worker_pids()

    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    wait_until(lambda: are_new(limited.server, workers), within_s=15)

    calls = 1 + calls_until_one_gets_through(limited, within_s=20)
    connection.close()
    limited.settled(calls)


def calls_until_one_gets_through(gateway: Gateway, *, within_s: float) -> int:
    """How many it took."""
    statuses = []

    def gets_through() -> bool:
        statuses.append(gateway.post(ENVELOPE, PLAIN).status)
        return statuses[-1] == 200

    wait_until(gets_through, within_s=within_s)
    return len(statuses)


def are_new(server: GatewayServer, workers: list[int]) -> bool:
    pids = server.worker_pids()
    return len(pids) == len(workers) and not set(pids) & set(workers) and is_ready(server.port)


def is_ready(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# ---- limits that only count


def test_a_limit_that_only_counts_refuses_nothing_is_not_in_the_headers_and_is_written_down(limited: Gateway) -> None:
    limit(limited, requests_per_minute=1, shadow_mode=True)

    answers = [limited.post(ENVELOPE, PLAIN) for _ in range(2)]

    assert [answer.status for answer in answers] == [200, 200]
    assert not any(RATE_LIMIT_HEADERS & set(answer.headers) for answer in answers)
    limited.settled(2)
    hits = {row.id: row.limit_exceeded for row in UsageRecord.objects.filter(status="completed")}
    first, second = (hits[answer.headers["request-id"]] for answer in answers)
    assert first is None
    assert second is not None and second.pop("reset")
    assert second == {"scope": "key", "limit": "requests_per_minute", "value": 1, "shadow": True}


# ---- the official client


def use_up(gateway: Gateway) -> int:
    """Call until a call is refused. Return how many calls that were."""
    calls = 1
    while gateway.post(NATIVE, PLAIN).status == 200:
        calls += 1
    return calls


def test_the_official_client_raises_its_rate_limit_error(limited: Gateway) -> None:
    limit(limited, requests_per_minute=2)
    calls = use_up(limited)

    with (
        anthropic.Anthropic(base_url=f"{limited.url}/api/anthropic", api_key=limited.raw_key, max_retries=0) as client,
        pytest.raises(anthropic.RateLimitError) as caught,
    ):
        client.messages.create(**PLAIN)

    assert caught.value.response.headers["anthropic-ratelimit-requests-remaining"] == "0"
    limited.settled(calls + 1)


def test_with_its_retries_it_waits_as_long_as_it_is_told_and_gets_through(limited: Gateway) -> None:
    limit(limited, requests_per_minute=20)
    calls = use_up(limited)

    with anthropic.Anthropic(base_url=f"{limited.url}/api/anthropic", api_key=limited.raw_key, max_retries=1) as client:
        message = client.messages.create(**PLAIN)

    assert message.content[0].text == "Hello, world!"
    limited.settled(calls + 2)
