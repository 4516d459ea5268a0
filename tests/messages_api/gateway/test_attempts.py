"""Retries and fallbacks: only before the first byte, only for errors that allow them, and within the retry budget."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from keys.models import APIKey, UsageRecord
from messages_api.backend import adapters
from messages_api.backend.attempt import Attempt
from messages_api.backend.endpoint import Target
from messages_api.backend.upstream_error import UpstreamError
from messages_api.gateway.attempts import Attempts
from messages_api.models import Route, RouteTarget, Upstream
from messages_api.routing.circuit_breaker import CircuitBreakers
from tests.messages_api.backend.test_upstream_errors import endpoint
from tests.support.clock import Clock
from tests.support.gateway import ApiResponse, Gateway, events, wait_until
from tests.upstream import (
    Chunk,
    EndChunks,
    Head,
    Pause,
    Reset,
    ScriptedUpstream,
    WaitForPeer,
    body_response,
    failure,
    frames_of,
    replied,
)
from tests.upstream.certificates import Authority

PATHS = {"envelope": "/api/v1/messages", "anthropic": "/api/anthropic/v1/messages"}
PATH = PATHS["envelope"]
PLAIN = {"model": "requested", "max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}]}
STREAMED = PLAIN | {"stream": True}
BODIES = {"plain": PLAIN, "streamed": STREAMED}

both_bodies = pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)


@pytest.fixture
def second() -> Iterator[ScriptedUpstream]:
    """The upstream of the fallback target."""
    with ScriptedUpstream() as scripted:
        yield scripted


class TwoTargets:
    """A gateway with a first and a second target for one model."""

    def __init__(self, gateway: Gateway, second: ScriptedUpstream) -> None:
        self.gateway = gateway
        self.first = gateway.upstream
        self.second = second
        self.route = Route.objects.get(pattern="*")
        self.second_row = gateway.add_upstream("second", second.url, "anthropic")
        self.second_target = RouteTarget.objects.create(
            route=self.route, upstream=self.second_row, model="its-model", priority=1
        )

    def set(self, row: Upstream, **fields: Any) -> None:
        for name, value in fields.items():
            setattr(row, name, value)
        row.save()

    def send(self, body: object = PLAIN, *, path: str = PATH, headers: dict[str, str] | None = None) -> ApiResponse:
        return self.gateway.post(path, body, headers=headers)

    @property
    def attempts(self) -> tuple[int, int]:
        """Number of requests that the first and the second upstream have received."""
        return len(self.first.requests), len(self.second.requests)


@pytest.fixture
def pair(gateway: Gateway, second: ScriptedUpstream) -> TwoTargets:
    return TwoTargets(gateway, second)


def log_of(pair: TwoTargets, line: str) -> str:
    """Return the log of the gateway once it has a line; before, an empty text."""
    log = pair.gateway.server.log_path.read_text()
    return log if line in log else ""


def attempts_of(row: UsageRecord) -> list[tuple[str, str, int | None, str]]:
    """Return the attempts of a usage record, without their milliseconds."""
    assert all(attempt["ms"] >= 0 for attempt in row.attempts)
    return [(each["upstream"], each["model"], each["status"], each["error"]) for each in row.attempts]


# ---- fallback


@both_bodies
@pytest.mark.parametrize("api_format", PATHS)
@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_an_overloaded_upstream_gets_three_attempts_and_then_the_next_one_responds(
    pair: TwoTargets, dialect: str, api_format: str, body: dict[str, Any]
) -> None:
    pair.gateway.configure_upstream(dialect)
    pair.first.queue(failure(529, "Overloaded."), times=None)

    response = pair.send(body, path=PATHS[api_format])

    assert (response.status, response.headers["x-gateway-target"]) == (200, "second/its-model")
    assert b'"requested"' in response.body and b"its-model" not in response.body
    assert pair.attempts == (3, 1)
    assert pair.second.requests[0].model == "its-model"
    row = pair.gateway.record()
    assert (row.status, row.upstream, row.upstream_model) == ("completed", "second", "its-model")
    assert (row.model, row.usage_source) == ("requested", "reported")
    assert attempts_of(row) == [
        *[("scripted", "requested", 529, "overloaded_error")] * 3,
        ("second", "its-model", 200, ""),
    ]


@pytest.mark.parametrize("status", [401, 402, 403])
def test_an_account_error_is_not_retried_but_falls_back(pair: TwoTargets, status: int) -> None:
    pair.first.queue(failure(status), times=None)

    response = pair.send()

    assert (response.status, pair.attempts) == (200, (1, 1))
    assert attempts_of(pair.gateway.record())[0] == ("scripted", "requested", status, "api_error")


def test_an_unreachable_upstream_is_recorded_and_the_next_one_responds(pair: TwoTargets) -> None:
    pair.first.refuse()

    response = pair.send()

    assert (response.status, pair.attempts) == (200, (0, 1))
    row = pair.gateway.record()
    assert attempts_of(row)[:3] == [("scripted", "requested", None, "api_error")] * 3


def test_the_log_has_the_cause_of_a_failed_attempt_and_the_response_does_not(pair: TwoTargets) -> None:
    with ScriptedUpstream(tls=Authority().context("self-signed")) as distrusted:
        pair.gateway.configure_upstream("openai", base_url=distrusted.url)
        pair.second.queue(failure(401), times=None)

        response = pair.send()

        assert distrusted.requests == []
    id = response.headers["request-id"]
    log = wait_until(lambda: log_of(pair, f"{id} failed reason="))  # lines are written in batches
    untrusted = "tls_certificate_untrusted (SSLCertVerificationError: self-signed certificate)"
    assert f"{id} attempt at scripted failed: api_error, {untrusted}" in log
    assert f"{id} attempt at second failed: api_error, credential_rejected:401" in log
    assert f"{id} failed reason=credential_rejected:401 " in log
    assert response.status == 502
    assert b"certificate" not in response.body and b"SSL" not in response.body


@both_bodies
@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_a_client_error_is_neither_retried_nor_sent_to_the_next_target(
    pair: TwoTargets, status: int, body: dict[str, Any]
) -> None:
    pair.first.queue(failure(status, "The request is wrong."), times=None)

    response = pair.send(body)

    assert (response.status, response.json()["message"]) == (400 if status == 422 else status, "The request is wrong.")
    assert pair.attempts == (1, 0)
    assert len(pair.gateway.record().attempts) == 1


@both_bodies
def test_a_timeout_is_neither_retried_nor_sent_to_the_next_target(pair: TwoTargets, body: dict[str, Any]) -> None:
    pair.gateway.configure_upstream("openai", first_byte_timeout_s=0.5)
    pair.first.queue(WaitForPeer(), times=None)

    response = pair.send(body)

    assert (response.status, pair.attempts) == (504, (1, 0))
    row = pair.gateway.record()
    assert (row.error_type, row.usage_source) == ("timeout_error", "estimated")


def test_a_timeout_is_retried_and_falls_back_with_retry_on_timeout(pair: TwoTargets) -> None:
    pair.gateway.configure_upstream("openai", first_byte_timeout_s=0.3, retry_on_timeout=True)
    pair.first.queue(WaitForPeer(), times=None)

    response = pair.send()

    assert (response.status, pair.attempts) == (200, (3, 1))
    assert attempts_of(pair.gateway.record())[0] == ("scripted", "requested", None, "timeout_error")


def test_the_error_of_the_last_target_is_returned(pair: TwoTargets) -> None:
    pair.first.queue(failure(401), times=None)
    pair.second.queue(failure(404, "No such model there."), times=None)

    response = pair.send()

    assert (response.status, response.json()["message"]) == (404, "No such model there.")
    assert "x-gateway-target" not in response.headers
    row = pair.gateway.record()
    assert (row.upstream, row.error_type, len(row.attempts)) == ("second", "not_found_error", 2)


def test_a_request_gets_two_retries_over_all_targets(pair: TwoTargets) -> None:
    pair.first.queue(failure(529), times=None)
    pair.second.queue(failure(529), times=None)

    response = pair.send()

    assert (response.status, pair.attempts) == (529, (3, 1))
    assert response.headers["x-should-retry"] == "false"


def test_a_stream_that_breaks_is_not_continued_by_the_next_target(pair: TwoTargets) -> None:
    pair.first.queue(lambda request: [Head(), *map(Chunk, frames_of(request)[:3]), Pause(0.1), Reset()])

    response = pair.send(STREAMED)

    assert response.headers["x-gateway-target"] == "scripted/requested"
    assert "error" in list(events(response.lines()))[-1]
    assert pair.attempts == (1, 0)
    row = pair.gateway.record()
    assert (row.status, attempts_of(row)) == ("failed", [("scripted", "requested", 200, "api_error")])


# ---- tokens of failed attempts


def tokens_of(attempt: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(attempt.get(name) for name in ("input_tokens", "output_tokens", "usage_source"))


@both_bodies
def test_a_failed_attempt_that_may_have_been_billed_keeps_its_tokens(gateway: Gateway, body: dict[str, Any]) -> None:
    gateway.upstream.queue(Reset())
    gateway.upstream.queue(failure(503))

    assert gateway.post(PATH, body).status == 200

    row = gateway.record()
    sent, rejected, served = row.attempts
    assert tokens_of(sent) == (row.estimated_input_tokens, 0, "estimated")
    assert tokens_of(rejected) == tokens_of(served) == (None, None, None)
    assert (row.usage_source, row.input_tokens, row.output_tokens) == ("reported", 9, 12)


@pytest.mark.parametrize(
    ("dialect", "usage"),
    [
        ("openai", {"prompt_tokens": 10, "completion_tokens": 100}),
        ("anthropic", {"input_tokens": 10, "output_tokens": 100}),
    ],
)
def test_an_invalid_response_keeps_the_tokens_that_it_reports(
    gateway: Gateway, dialect: str, usage: dict[str, int]
) -> None:
    gateway.configure_upstream(dialect)
    gateway.upstream.queue(body_response({"usage": usage}), times=None)

    assert gateway.post(PATH, PLAIN).status == 502

    row = gateway.record()
    assert [tokens_of(attempt) for attempt in row.attempts] == [(10, 100, "reported")]
    assert (row.input_tokens, row.output_tokens, row.usage_source) == (10, 100, "partial")


# ---- a response that was generated is paid once


GENERATED: dict[str, dict[str, Any]] = {
    "openai": {
        "no choices, with usage": {"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 100}},
        "text of another dialect": {"candidates": [{"content": {"parts": [{"text": "Hello"}]}}]},
        "a failed generation": {"choices": [{"message": {"content": "Hel"}, "finish_reason": "error"}]},
        "half a body": b'{"choices": [{"message": {"content": "Hel',
    },
    "anthropic": {
        "no content, with usage": {"usage": {"input_tokens": 10, "output_tokens": 100}},
        "an invalid block": {"type": "message", "role": "assistant", "content": ["Hello"]},
        "half a body": b'{"type": "message", "content": [{"type": "text", "text": "Hel',
    },
}
NOT_GENERATED: dict[str, dict[str, Any]] = {
    "openai": {
        "an error": {"error": {"message": "Busy.", "code": 503}},
        "nothing": {},
        "no choices, without usage": {"choices": []},
        "a failed generation without content": {"choices": [{"message": {"content": None}, "finish_reason": "error"}]},
        "a page": b"<html><title>Sign in</title></html>",
        "an empty body": b"",
    },
    "anthropic": {
        "an error": {"type": "error", "error": {"type": "overloaded_error", "message": "Busy."}},
        "nothing": {},
        "a page": b"<html><title>Sign in</title></html>",
    },
}


def bodies_of(cases: dict[str, dict[str, Any]]) -> pytest.MarkDecorator:
    found = [
        pytest.param(dialect, body, id=f"{dialect}: {name}")
        for dialect in cases
        for name, body in cases[dialect].items()
    ]
    return pytest.mark.parametrize(("dialect", "answer"), found)


@bodies_of(GENERATED)
def test_a_generated_response_that_is_invalid_is_paid_once(pair: TwoTargets, dialect: str, answer: Any) -> None:
    pair.gateway.configure_upstream(dialect)
    pair.first.queue(body_response(answer), times=None)

    response = pair.send()

    assert response.status in (500, 502)
    assert (pair.attempts, response.headers["x-should-retry"]) == ((1, 0), "false")
    (attempt,) = pair.gateway.record().attempts
    assert attempt["usage_source"] in ("reported", "estimated")
    assert attempt["input_tokens"] > 0


@bodies_of(NOT_GENERATED)
def test_a_200_without_content_and_usage_falls_back(pair: TwoTargets, dialect: str, answer: Any) -> None:
    pair.gateway.configure_upstream(dialect)
    pair.first.queue(body_response(answer), times=None)

    response = pair.send()

    assert (response.status, pair.attempts) == (200, (3, 1))


def test_an_upstream_that_bills_no_invalid_responses_is_tried_again(pair: TwoTargets) -> None:
    pair.gateway.configure_upstream("openai", profile_overrides={"bills_unreadable": False})
    usage = {"prompt_tokens": 10, "completion_tokens": 100}
    pair.first.queue(body_response({"choices": [], "usage": usage}), times=None)

    response = pair.send()

    assert (response.status, pair.attempts) == (200, (3, 1))
    attempts = pair.gateway.record().attempts
    assert [tokens_of(attempt) for attempt in attempts] == [*[(10, 100, "reported")] * 3, (None, None, None)]


TEXT = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}}
STREAMS = {
    "generated": [
        ("openai", b'data: {"choices": "Hello"}\n\n'),
        ("openai", b'data: {"choices": [{"delta": {"content": "Hel\n\n'),
        ("openai", b'data: {"choices": [{"delta": {"content": "Hel"}}]}\n\ndata: {"error": {"message": "Busy."}}\n\n'),
        ("anthropic", b"data: " + json.dumps(TEXT).encode() + b"\n\n"),
    ],
    "not generated": [
        ("openai", b": working\n\n"),
        ("openai", b'data: {"error": {"message": "Busy.", "code": 503}}\n\n'),
        ("openai", b'data: {"choices": []}\n\ndata: {"error": {"message": "Busy.", "code": 503}}\n\n'),
        ("anthropic", b'event: ping\ndata: {"type": "ping"}\n\n'),
        ("anthropic", b'data: {"type": "error", "error": {"type": "overloaded_error", "message": "Busy."}}\n\n'),
    ],
}


@pytest.mark.parametrize(("dialect", "stream"), STREAMS["generated"])
def test_a_stream_that_is_invalid_before_its_first_event_is_paid_once(
    pair: TwoTargets, dialect: str, stream: bytes
) -> None:
    pair.gateway.configure_upstream(dialect)
    pair.first.queue([Head(), Chunk(stream), EndChunks()], times=None)

    response = pair.send(STREAMED)

    assert response.status in (500, 502)
    assert (pair.attempts, response.headers["x-should-retry"]) == ((1, 0), "false")


@pytest.mark.parametrize(("dialect", "stream"), STREAMS["not generated"])
def test_a_stream_without_a_part_of_a_response_falls_back(pair: TwoTargets, dialect: str, stream: bytes) -> None:
    pair.gateway.configure_upstream(dialect)
    pair.first.queue([Head(), Chunk(stream), EndChunks()], times=None)

    assert (pair.send(STREAMED).status, pair.attempts) == (200, (3, 1))


# ---- reasons


def reasons_of(row: UsageRecord) -> list[str]:
    return [attempt.get("reason", "") for attempt in row.attempts]


def test_a_failed_request_and_its_attempts_have_reasons_and_request_ids_of_both_sides(pair: TwoTargets) -> None:
    secret = "Your prompt 'swordfish' is busy."
    pair.first.queue(failure(503, secret))
    pair.first.queue(failure(401, secret))
    pair.second.queue(failure(400, secret, headers=[("retry-after", "1.5")]), times=None)

    response = pair.send()

    assert (response.status, response.json()["message"], response.headers["retry-after"]) == (400, secret, "1.5")
    assert response.headers["x-gateway-upstream-request-id"] == "req_scripted"
    row = pair.gateway.record()
    assert response.json()["data"]["request_id"] == row.id
    assert (row.error_type, row.error_reason) == ("invalid_request_error", "http_status:400")
    assert reasons_of(row) == ["http_status:503", "credential_rejected:401", "http_status:400"]
    assert [attempt["request_id"] for attempt in row.attempts] == ["req_scripted"] * 3
    stored = json.dumps(UsageRecord.objects.values().get(), default=str)
    assert "swordfish" not in stored + wait_until(lambda: log_of(pair, f"{row.id} failed"))
    assert f"{row.id} failed reason=http_status:400 " in wait_until(lambda: log_of(pair, f"{row.id} failed"))


def test_texts_of_an_upstream_where_identifiers_belong_are_not_stored(gateway: Gateway) -> None:
    gateway.configure_upstream("anthropic")
    said = "you said swordfish"
    message = {
        "id": said,
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "Hello"}],
        "stop_reason": said,
        "stop_sequence": None,
        "usage": {"input_tokens": 9, "output_tokens": 12},
    }
    gateway.upstream.queue(body_response(message, headers=[("content-type", "application/json"), ("request-id", said)]))

    assert gateway.post(PATHS["anthropic"], PLAIN).status == 200

    row = gateway.record()
    assert (row.message_id, row.stop_reason, row.upstream_request_id) == ("?", "?", "")
    assert "swordfish" not in json.dumps(UsageRecord.objects.values().get(), default=str)


def test_a_stream_that_is_cut_has_its_tokens_as_reason(gateway: Gateway) -> None:
    gateway.configure_upstream("anthropic")

    def cut(request: Any) -> list[Any]:
        start = {
            "type": "message_start",
            "message": {"id": "msg_1", "usage": {"input_tokens": 9, "output_tokens": 1204}},
        }
        return [Head(), Chunk(b"data: " + json.dumps(start).encode() + b"\n\n"), Pause(0.1), Reset()]

    gateway.upstream.queue(cut)

    assert "error" in list(events(gateway.post(PATH, STREAMED).lines()))[-1]

    row = gateway.record()
    assert row.output_tokens == 1204
    assert [row.error_reason, *reasons_of(row)] == ["response_cut:1204"] * 2


@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_timeout_states_what_it_waited_for(gateway: Gateway, is_streamed: bool) -> None:
    gateway.configure_upstream("openai", first_byte_timeout_s=0.5, idle_timeout_s=0.7)
    gateway.upstream.queue(WaitForPeer())
    gateway.upstream.queue(lambda request: [*script_steps(request)[:2], WaitForPeer()])
    body = PLAIN | {"stream": is_streamed}

    assert gateway.post(PATH, body).status == 504
    gateway.post(PATH, body)

    found = {row.error_reason for row in gateway.settled(2)}
    assert found == {"first_byte_timeout:0.5", "idle_timeout:0.7"}


def script_steps(request: Any) -> list[Any]:
    """Return the steps of a response in several pieces."""
    if request.is_streamed:
        return [Head(), *map(Chunk, frames_of(request))]
    return [Head(), Chunk(b'{"choices": ')]


def test_the_request_timeout_is_a_reason(gateway: Gateway) -> None:
    gateway.configure_upstream("openai", request_timeout_s=1.0)
    gateway.upstream.queue(WaitForPeer())

    assert gateway.post(PATH, PLAIN).status == 504

    assert gateway.record().error_reason == "request_timeout:1"


def test_unreachable_upstreams_have_reasons(gateway: Gateway) -> None:
    found = []
    with ScriptedUpstream(tls=Authority().context("self-signed")) as distrusted:
        gateway.configure_upstream("openai", base_url=distrusted.url)
        found.append(gateway.post(PATH, PLAIN).headers["request-id"])
    gateway.configure_upstream("openai", base_url="http://no-such-host.invalid")
    found.append(gateway.post(PATH, PLAIN).headers["request-id"])
    gateway.configure_upstream("openai", base_url=gateway.upstream.url)
    gateway.upstream.refuse()
    found.append(gateway.post(PATH, PLAIN).headers["request-id"])
    gateway.settled(3)

    assert [UsageRecord.objects.get(pk=id).error_reason for id in found] == [
        "tls_certificate_untrusted",
        "host_not_found",
        "connection_refused",
    ]


# ---- fallback models


def test_a_fallback_model_is_not_used_for_a_key_that_may_not_use_it(pair: TwoTargets) -> None:
    pair.first.queue(failure(401), times=None)
    _, raw_key = APIKey.objects.issue(name="narrow", owner=pair.gateway.owner, allowed_models=["requested"])

    response = pair.send(headers={"Authorization": f"Bearer {raw_key}"})

    assert (response.status, pair.attempts) == (502, (1, 0))


@pytest.mark.parametrize("model", ["its-model", ""], ids=["allowed", "the same model"])
def test_a_fallback_that_the_key_may_use_is_used(pair: TwoTargets, model: str) -> None:
    pair.first.queue(failure(401), times=None)
    pair.second_target.model = model
    pair.second_target.save()
    allowed = ["requested", model] if model else ["requested"]
    _, raw_key = APIKey.objects.issue(name="narrow", owner=pair.gateway.owner, allowed_models=allowed)

    response = pair.send(headers={"Authorization": f"Bearer {raw_key}"})

    assert (response.status, pair.attempts) == (200, (1, 1))


# ---- backoff


def test_a_retry_after_of_three_seconds_is_waited_for(gateway: Gateway) -> None:
    gateway.upstream.queue(failure(429, headers=[("retry-after", "3")]))

    response = gateway.post(PATH, PLAIN)

    assert response.status == 200
    rejected, served = gateway.upstream.requests
    assert 3.0 <= served.at - rejected.at <= 3.5 + 0.5


def test_a_retry_after_of_ten_minutes_is_returned_to_the_client(gateway: Gateway) -> None:
    gateway.upstream.queue(failure(429, headers=[("retry-after", "600")]), times=None)

    started_at = time.monotonic()
    response = gateway.post(PATH, PLAIN)

    assert time.monotonic() - started_at < 1.0
    assert (response.status, response.headers["retry-after"]) == (429, "600")
    assert "x-should-retry" not in response.headers
    assert len(gateway.upstream.requests) == 1


def test_a_retry_after_of_ten_minutes_falls_back_immediately(pair: TwoTargets) -> None:
    pair.first.queue(failure(429, headers=[("retry-after", "600")]), times=None)

    started_at = time.monotonic()
    response = pair.send()

    assert time.monotonic() - started_at < 1.0
    assert (response.status, pair.attempts) == (200, (1, 1))


def test_no_backoff_exceeds_the_request_timeout(gateway: Gateway) -> None:
    gateway.configure_upstream("openai", request_timeout_s=2.0)
    gateway.upstream.queue(failure(429, headers=[("retry-after", "3")]), times=None)

    started_at = time.monotonic()
    response = gateway.post(PATH, PLAIN)

    assert time.monotonic() - started_at < 1.0
    assert (response.status, response.headers["retry-after"]) == (429, "3")


def test_the_request_timeout_covers_all_attempts(pair: TwoTargets) -> None:
    pair.gateway.configure_upstream("openai", request_timeout_s=1.5)
    pair.set(pair.second_row, request_timeout_s=1.5)
    pair.first.queue(failure(529), times=None)
    pair.second.queue(WaitForPeer(), times=None)

    started_at = time.monotonic()
    response = pair.send()

    assert response.status in (504, 529)  # 529 if the backoff used all of it
    assert time.monotonic() - started_at < 2.5


@both_bodies
def test_a_client_disconnect_ends_the_backoff(gateway: Gateway, body: dict[str, Any]) -> None:
    gateway.upstream.queue(failure(429, headers=[("retry-after", "20")]), times=None)
    connection = gateway.open(PATH, body)
    wait_until(lambda: gateway.upstream.requests)

    disconnected_at = time.monotonic()
    connection.close()

    row = gateway.record(within_s=3)
    assert time.monotonic() - disconnected_at < 2.0
    assert (row.status, len(row.attempts), len(gateway.upstream.requests)) == ("client_closed", 1, 1)


# ---- circuit breaker


def test_five_consecutive_failures_open_the_circuit(pair: TwoTargets) -> None:
    pair.first.queue(failure(503), times=None)
    pair.send()
    pair.send()
    assert pair.attempts == (5, 2)  # the second request got no third attempt: the circuit was open

    responses = [pair.send() for _ in range(5)]

    assert {response.headers["x-gateway-target"] for response in responses} == {"second/its-model"}
    assert pair.attempts == (5, 7)
    assert attempts_of(pair.gateway.settled(7)[0]) == [("second", "its-model", 200, "")]


def test_the_only_target_always_gets_an_attempt(gateway: Gateway) -> None:
    gateway.upstream.queue(failure(503), times=8)

    statuses = [gateway.post(PATH, PLAIN).status for _ in range(6)]

    # Three attempts, two, and then one per request until the upstream responds again.
    assert statuses == [529, 529, 529, 529, 529, 200]
    assert len(gateway.upstream.requests) == 9


def test_a_recovered_upstream_serves_all_requests_again(second: ScriptedUpstream) -> None:
    """Runs in this process to control the clock: probes are ten seconds apart."""
    clock = Clock()
    circuit_breakers = CircuitBreakers(clock=clock)
    with ScriptedUpstream() as first:
        first.queue(failure(503), times=6)
        for _ in range(4):
            send([first, second], circuit_breakers)
        assert (len(first.requests), len(second.requests)) == (5, 4)

        clock.forward(10)
        send([first, second], circuit_breakers)  # a probe, which fails
        send([first, second], circuit_breakers)
        assert (len(first.requests), len(second.requests)) == (6, 6)

        clock.forward(10)
        for _ in range(50):
            send([first, second], circuit_breakers)

        assert (len(first.requests), len(second.requests)) == (56, 6)


@pytest.mark.parametrize(
    "rejected",
    [
        pytest.param(STREAMED | {"max_tokens": 0}, id="by the gateway"),
        pytest.param(PLAIN | {"temperature": 1.5}, id="by the upstream"),
    ],
)
def test_a_rejected_request_is_no_probe(second: ScriptedUpstream, rejected: dict[str, Any]) -> None:
    clock = Clock()
    circuit_breakers = CircuitBreakers(clock=clock)
    with ScriptedUpstream() as first:
        first.queue(failure(503), times=5)
        for _ in range(3):
            send([first, second], circuit_breakers)
        received = len(first.requests)
        clock.forward(10)
        first.queue(lambda request: (failure(400) if "temperature" in request.body else replied())(request), times=None)
        for _ in range(3):
            with pytest.raises(UpstreamError):
                send([first, second], circuit_breakers, body=rejected)

        send([first, second], circuit_breakers)

        assert received == 5
        assert first.requests[-1].body.get("temperature") is None and len(second.requests) == 3


def test_a_response_of_the_gateway_itself_closes_no_circuit(second: ScriptedUpstream) -> None:
    circuit_breakers = CircuitBreakers()
    with ScriptedUpstream() as first:
        first.queue(failure(503), times=5)
        for _ in range(2):
            send([first, second], circuit_breakers)

        for _ in range(3):
            send([first], circuit_breakers, body=PLAIN | {"max_tokens": 0})
        send([first, second], circuit_breakers)

        assert (len(first.requests), len(second.requests)) == (5, 3)


def test_a_thousand_client_errors_do_not_open_the_circuit() -> None:
    circuit_breakers = CircuitBreakers()
    with ScriptedUpstream() as upstream:
        upstream.queue(failure(400), times=1000)

        for _ in range(1000):
            with pytest.raises(UpstreamError):
                send([upstream], circuit_breakers)

        assert circuit_breakers.of(endpoint(upstream.url)).open_state is None
        assert len(upstream.requests) == 1000


class RequestBody:
    """The request body as adapters read it."""

    raw = b""

    def __init__(self, request: Any) -> None:
        self.request = request


def send(upstreams: list[ScriptedUpstream], circuit_breakers: CircuitBreakers, *, body: Any = PLAIN) -> None:
    """Send a request in this process, with the first upstream as target and the others as fallbacks."""
    begin = partial(Attempt, body=RequestBody(body), is_anthropic_api=False, client_headers={}, input_estimate=1)
    targets = [Target(endpoint=endpoint(upstream.url), model="m") for upstream in upstreams]
    attempts = Attempts(targets, circuit_breakers=circuit_breakers, key_id=1, request_id="req_1", begin=begin)
    try:
        attempts.run(adapters.events if body.get("stream") else adapters.message)
    finally:
        attempts.finish(is_complete=True, error=None)
        attempts.close()


# ---- retry budget


def test_an_upstream_that_is_down_gets_few_retries(gateway: Gateway) -> None:
    gateway.upstream.queue(failure(503), times=None)

    with ThreadPoolExecutor(20) as clients:
        responses = list(clients.map(lambda _: gateway.post(PATH, PLAIN), range(300)))

    assert {response.status for response in responses} == {529}
    assert len(gateway.upstream.requests) <= 1.3 * 300
    assert {response.headers.get("x-should-retry") for response in responses} == {"false"}
    rows = gateway.settled(300)
    assert sum(len(row.attempts) for row in rows) == len(gateway.upstream.requests)


def test_an_upstream_that_fails_half_the_time_gets_no_more_retries_than_its_budget(gateway: Gateway) -> None:
    def every_other_time(request: Any) -> Any:
        return (failure(503) if request.id % 2 else failure(400))(request)

    gateway.upstream.queue(every_other_time, times=None)

    with ThreadPoolExecutor(20) as clients:
        started_at = time.monotonic()
        list(clients.map(lambda _: gateway.post(PATH, PLAIN), range(150)))
        took_s = time.monotonic() - started_at

    retries = len(gateway.upstream.requests) - 150
    assert 0 < retries <= 30 * (1 + took_s // 10)  # three per second over ten seconds; a tenth of the requests is less
