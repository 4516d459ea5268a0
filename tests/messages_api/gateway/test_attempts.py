"""Another attempt, and then the next target: before the first byte, where it makes sense, and never too often."""

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
from messages_api.routing.circuit_registry import CircuitBreakers
from tests.messages_api.backend.test_upstream_errors import endpoint
from tests.support.clock import Clock
from tests.support.gateway import Answer, Gateway, events, wait_until
from tests.upstream import Chunk, Head, Pause, Reset, ScriptedUpstream, WaitForPeer, failure, frames_of
from tests.upstream.certificates import Authority

PATHS = {"envelope": "/api/v1/messages", "anthropic": "/api/anthropic/v1/messages"}
PATH = PATHS["envelope"]
PLAIN = {"model": "asked-for", "max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}]}
STREAMED = PLAIN | {"stream": True}
BODIES = {"plain": PLAIN, "streamed": STREAMED}

both_bodies = pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)


@pytest.fixture
def second() -> Iterator[ScriptedUpstream]:
    """What is asked when `upstream` has failed."""
    with ScriptedUpstream() as scripted:
        yield scripted


class Pair:
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

    def ask(self, body: object = PLAIN, *, path: str = PATH, headers: dict[str, str] | None = None) -> Answer:
        return self.gateway.post(path, body, headers=headers)

    @property
    def asked(self) -> tuple[int, int]:
        """How many calls the first and the second upstream have seen."""
        return len(self.first.requests), len(self.second.requests)


@pytest.fixture
def pair(gateway: Gateway, second: ScriptedUpstream) -> Pair:
    return Pair(gateway, second)


def noted(row: UsageRecord) -> list[tuple[str, str, int | None, str]]:
    """The attempts of a usage record, without their milliseconds."""
    assert all(attempt["ms"] >= 0 for attempt in row.attempts)
    return [(each["upstream"], each["model"], each["status"], each["error"]) for each in row.attempts]


# ---- to the next target


@both_bodies
@pytest.mark.parametrize("api_format", PATHS)
@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_an_overloaded_upstream_is_asked_three_times_and_then_the_next_one_answers(
    pair: Pair, dialect: str, api_format: str, body: dict[str, Any]
) -> None:
    pair.gateway.speak(dialect)
    pair.first.queue(failure(529, "Overloaded."), times=None)

    answer = pair.ask(body, path=PATHS[api_format])

    assert (answer.status, answer.headers["x-gateway-target"]) == (200, "second/its-model")
    assert b'"asked-for"' in answer.body and b"its-model" not in answer.body
    assert pair.asked == (3, 1)
    assert pair.second.requests[0].model == "its-model"
    row = pair.gateway.record()
    assert (row.status, row.upstream, row.upstream_model) == ("completed", "second", "its-model")
    assert (row.model, row.usage_source) == ("asked-for", "reported")
    assert noted(row) == [
        *[("scripted", "asked-for", 529, "overloaded_error")] * 3,
        ("second", "its-model", 200, ""),
    ]


@pytest.mark.parametrize("status", [401, 402, 403])
def test_who_refuses_our_account_is_not_asked_again_but_the_next_one_is(pair: Pair, status: int) -> None:
    pair.first.queue(failure(status), times=None)

    answer = pair.ask()

    assert (answer.status, pair.asked) == (200, (1, 1))
    assert noted(pair.gateway.record())[0] == ("scripted", "asked-for", status, "api_error")


def test_an_upstream_that_is_not_there_is_noted_and_the_next_one_answers(pair: Pair) -> None:
    pair.first.refuse()

    answer = pair.ask()

    assert (answer.status, pair.asked) == (200, (0, 1))
    row = pair.gateway.record()
    assert noted(row)[:3] == [("scripted", "asked-for", None, "api_error")] * 3


def test_the_log_says_why_an_attempt_failed_and_the_answer_does_not(pair: Pair) -> None:
    with ScriptedUpstream(tls=Authority().context("self-signed")) as distrusted:
        pair.gateway.speak("openai", base_url=distrusted.url)
        pair.second.queue(failure(401), times=None)

        answer = pair.ask()

        assert distrusted.requests == []
    log = pair.gateway.server.log_path.read_text()
    assert "Attempt at scripted failed: api_error (SSLCertVerificationError: self-signed certificate)" in log
    assert "Attempt at second failed: api_error (status 401)" in log
    assert answer.status == 502
    assert b"certificate" not in answer.body and b"SSL" not in answer.body


@both_bodies
@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_what_is_wrong_with_the_request_is_tried_once_and_nowhere_else(
    pair: Pair, status: int, body: dict[str, Any]
) -> None:
    pair.first.queue(failure(status, "The request is wrong."), times=None)

    answer = pair.ask(body)

    assert (answer.status, answer.json()["message"]) == (400 if status == 422 else status, "The request is wrong.")
    assert pair.asked == (1, 0)
    assert len(pair.gateway.record().attempts) == 1


@both_bodies
def test_a_deadline_of_ours_is_neither_tried_again_nor_passed_on(pair: Pair, body: dict[str, Any]) -> None:
    pair.gateway.speak("openai", first_byte_timeout_s=0.5)
    pair.first.queue(WaitForPeer(), times=None)

    answer = pair.ask(body)

    assert (answer.status, pair.asked) == (504, (1, 0))
    row = pair.gateway.record()
    assert (row.error_type, row.usage_source) == ("timeout_error", "estimated")


def test_a_deadline_is_tried_again_and_passed_on_where_the_upstream_says_so(pair: Pair) -> None:
    pair.gateway.speak("openai", first_byte_timeout_s=0.3, retry_on_timeout=True)
    pair.first.queue(WaitForPeer(), times=None)

    answer = pair.ask()

    assert (answer.status, pair.asked) == (200, (3, 1))
    assert noted(pair.gateway.record())[0] == ("scripted", "asked-for", None, "timeout_error")


def test_the_last_target_has_the_last_word(pair: Pair) -> None:
    pair.first.queue(failure(401), times=None)
    pair.second.queue(failure(404, "No such model there."), times=None)

    answer = pair.ask()

    assert (answer.status, answer.json()["message"]) == (404, "No such model there.")
    assert "x-gateway-target" not in answer.headers
    row = pair.gateway.record()
    assert (row.upstream, row.error_type, len(row.attempts)) == ("second", "not_found_error", 2)


def test_two_retries_are_all_that_a_call_gets_whatever_the_number_of_targets(pair: Pair) -> None:
    pair.first.queue(failure(529), times=None)
    pair.second.queue(failure(529), times=None)

    answer = pair.ask()

    assert (answer.status, pair.asked) == (529, (3, 1))
    assert answer.headers["x-should-retry"] == "false"


def test_a_stream_that_breaks_is_not_continued_by_somebody_else(pair: Pair) -> None:
    pair.first.queue(lambda call: [Head(), *map(Chunk, frames_of(call)[:3]), Pause(0.1), Reset()])

    answer = pair.ask(STREAMED)

    assert answer.headers["x-gateway-target"] == "scripted/asked-for"
    assert "error" in list(events(answer.lines()))[-1]
    assert pair.asked == (1, 0)
    row = pair.gateway.record()
    assert (row.status, noted(row)) == ("failed", [("scripted", "asked-for", 200, "api_error")])


# ---- what a key may use


def test_another_model_is_no_fall_back_for_a_key_that_may_not_use_it(pair: Pair) -> None:
    pair.first.queue(failure(401), times=None)
    _, raw_key = APIKey.objects.issue(name="narrow", owner=pair.gateway.owner, allowed_models=["asked-for"])

    answer = pair.ask(headers={"Authorization": f"Bearer {raw_key}"})

    assert (answer.status, pair.asked) == (502, (1, 0))


@pytest.mark.parametrize("model", ["its-model", ""], ids=["allowed", "the same model"])
def test_a_fall_back_that_the_key_may_use_is_used(pair: Pair, model: str) -> None:
    pair.first.queue(failure(401), times=None)
    pair.second_target.model = model
    pair.second_target.save()
    allowed = ["asked-for", model] if model else ["asked-for"]
    _, raw_key = APIKey.objects.issue(name="narrow", owner=pair.gateway.owner, allowed_models=allowed)

    answer = pair.ask(headers={"Authorization": f"Bearer {raw_key}"})

    assert (answer.status, pair.asked) == (200, (1, 1))


# ---- how long is waited


def test_a_retry_after_of_three_seconds_is_waited_for(gateway: Gateway) -> None:
    gateway.upstream.queue(failure(429, headers=[("retry-after", "3")]))

    answer = gateway.post(PATH, PLAIN)

    assert answer.status == 200
    refused, answered = gateway.upstream.requests
    assert 3.0 <= answered.at - refused.at <= 3.5 + 0.5


def test_a_retry_after_of_ten_minutes_is_left_to_the_caller(gateway: Gateway) -> None:
    gateway.upstream.queue(failure(429, headers=[("retry-after", "600")]), times=None)

    begun = time.monotonic()
    answer = gateway.post(PATH, PLAIN)

    assert time.monotonic() - begun < 1.0
    assert (answer.status, answer.headers["retry-after"]) == (429, "600")
    assert "x-should-retry" not in answer.headers
    assert len(gateway.upstream.requests) == 1


def test_a_retry_after_of_ten_minutes_is_a_reason_to_ask_the_next_one_at_once(pair: Pair) -> None:
    pair.first.queue(failure(429, headers=[("retry-after", "600")]), times=None)

    begun = time.monotonic()
    answer = pair.ask()

    assert time.monotonic() - begun < 1.0
    assert (answer.status, pair.asked) == (200, (1, 1))


def test_no_wait_outlives_the_total_deadline(gateway: Gateway) -> None:
    gateway.speak("openai", request_timeout_s=2.0)
    gateway.upstream.queue(failure(429, headers=[("retry-after", "3")]), times=None)

    begun = time.monotonic()
    answer = gateway.post(PATH, PLAIN)

    assert time.monotonic() - begun < 1.0
    assert (answer.status, answer.headers["retry-after"]) == (429, "3")


def test_the_total_deadline_is_one_for_all_attempts(pair: Pair) -> None:
    pair.gateway.speak("openai", request_timeout_s=1.5)
    pair.set(pair.second_row, request_timeout_s=1.5)
    pair.first.queue(failure(529), times=None)
    pair.second.queue(WaitForPeer(), times=None)

    begun = time.monotonic()
    answer = pair.ask()

    assert answer.status in (504, 529)  # 529 if the waits between the attempts took all of it
    assert time.monotonic() - begun < 2.5


@both_bodies
def test_a_caller_that_leaves_during_a_wait_ends_it(gateway: Gateway, body: dict[str, Any]) -> None:
    gateway.upstream.queue(failure(429, headers=[("retry-after", "20")]), times=None)
    connection = gateway.open(PATH, body)
    wait_until(lambda: gateway.upstream.requests)

    left_at = time.monotonic()
    connection.close()

    row = gateway.record(within_s=3)
    assert time.monotonic() - left_at < 2.0
    assert (row.status, len(row.attempts), len(gateway.upstream.requests)) == ("client_closed", 1, 1)


# ---- circuits


def test_five_failures_in_a_row_are_enough_to_skip_an_upstream(pair: Pair) -> None:
    pair.first.queue(failure(503), times=None)
    pair.ask()
    pair.ask()
    assert pair.asked == (5, 2)  # the third attempt of the second call was already one too many

    answers = [pair.ask() for _ in range(5)]

    assert {answer.headers["x-gateway-target"] for answer in answers} == {"second/its-model"}
    assert pair.asked == (5, 7)
    assert noted(pair.gateway.settled(7)[0]) == [("second", "its-model", 200, "")]


def test_the_only_target_is_always_asked(gateway: Gateway) -> None:
    gateway.upstream.queue(failure(503), times=8)

    statuses = [gateway.post(PATH, PLAIN).status for _ in range(6)]

    # Three attempts, two, and then one a call, until it answers again.
    assert statuses == [529, 529, 529, 529, 529, 200]
    assert len(gateway.upstream.requests) == 9


def test_an_upstream_that_was_skipped_serves_everything_again_once_it_answers(second: ScriptedUpstream) -> None:
    """In this process, for the sake of the clock: ten seconds pass between two probes."""
    clock = Clock()
    circuit_breakers = CircuitBreakers(clock=clock)
    with ScriptedUpstream() as first:
        first.queue(failure(503), times=6)
        for _ in range(4):
            ask([first, second], circuit_breakers)
        assert (len(first.requests), len(second.requests)) == (5, 4)

        clock.forward(10)
        ask([first, second], circuit_breakers)  # a probe, which fails
        ask([first, second], circuit_breakers)
        assert (len(first.requests), len(second.requests)) == (6, 6)

        clock.forward(10)
        for _ in range(50):
            ask([first, second], circuit_breakers)

        assert (len(first.requests), len(second.requests)) == (56, 6)


def test_a_thousand_bad_requests_say_nothing_of_an_upstream() -> None:
    circuit_breakers = CircuitBreakers()
    with ScriptedUpstream() as upstream:
        upstream.queue(failure(400), times=1000)

        for _ in range(1000):
            with pytest.raises(UpstreamError):
                ask([upstream], circuit_breakers)

        assert circuit_breakers.of(endpoint(upstream.url)).open_state is None
        assert len(upstream.requests) == 1000


class RequestBody:
    """A request as the adapters take it."""

    raw = b""
    request: Any = PLAIN


def ask(upstreams: list[ScriptedUpstream], circuit_breakers: CircuitBreakers) -> None:
    """One plain call in this process: the first upstream, and then the others."""

    begin = partial(Attempt, body=RequestBody(), is_anthropic_api=False, client_headers={}, input_estimate=1)
    targets = [Target(endpoint=endpoint(upstream.url), model="m") for upstream in upstreams]
    attempts = Attempts(targets, circuit_breakers=circuit_breakers, begin=begin)
    try:
        attempts.run(adapters.message)
    finally:
        attempts.finish(is_complete=True, error=None)
        attempts.close()


# ---- retries must not make an outage worse


def test_an_upstream_that_is_down_is_asked_hardly_more_often_than_its_callers_ask(gateway: Gateway) -> None:
    gateway.upstream.queue(failure(503), times=None)

    with ThreadPoolExecutor(20) as callers:
        answers = list(callers.map(lambda _: gateway.post(PATH, PLAIN), range(300)))

    assert {answer.status for answer in answers} == {529}
    assert len(gateway.upstream.requests) <= 1.3 * 300
    assert {answer.headers.get("x-should-retry") for answer in answers} == {"false"}
    rows = gateway.settled(300)
    assert sum(len(row.attempts) for row in rows) == len(gateway.upstream.requests)


def test_an_upstream_that_fails_half_the_time_gets_no_more_retries_than_its_budget(gateway: Gateway) -> None:
    def now_and_then(call: Any) -> Any:
        return (failure(503) if call.id % 2 else failure(400))(call)

    gateway.upstream.queue(now_and_then, times=None)

    with ThreadPoolExecutor(20) as callers:
        begun = time.monotonic()
        list(callers.map(lambda _: gateway.post(PATH, PLAIN), range(150)))
        took_s = time.monotonic() - begun

    retries = len(gateway.upstream.requests) - 150
    assert 0 < retries <= 30 * (1 + took_s // 10)  # three a second, counted over ten; a tenth of the calls is less
