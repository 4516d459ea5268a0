"""Detached requests: the rest of a response is read for its usage after the client disconnected."""

import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User

from keys.models import UsageRecord
from tests.support.gateway import Gateway, GatewayServer, read_until, wait_until
from tests.upstream import (
    Pause,
    RecordedRequest,
    Reply,
    ScriptedUpstream,
    WaitForPeer,
    body_of,
    body_response,
    replied,
    streamed,
)
from tests.upstream.responses import frames_of
from tests.upstream.steps import Step

PATH = "/api/v1/messages"
STREAMED = {"model": "m", "max_tokens": 64, "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
PLAIN = STREAMED | {"stream": False}
LONG = Reply(["word "] * 12, usage=(9, 12))
ENDLESS = Reply(["word "] * 200, usage=(9, 200))
MAX_DETACHED = 2
DETECTED_WITHIN_S = 1.0
"""Maximum time until a client disconnect has its effect upstream."""

both_dialects = pytest.mark.parametrize("dialect", ["openai", "anthropic"])
both_bodies = pytest.mark.parametrize("body", [PLAIN, STREAMED], ids=["plain", "streamed"])


@pytest.fixture(scope="module")
def server(django_db_setup: None, static_files: None) -> Iterator[GatewayServer]:
    with GatewayServer(MAX_DETACHED_REQUESTS=str(MAX_DETACHED), HEARTBEAT_S="0.3") as server:
        yield server


@pytest.fixture
def detaching(transactional_db: None, server: GatewayServer, upstream: ScriptedUpstream, owner: User) -> Gateway:
    """A gateway that continues for five seconds after a client disconnect."""
    gateway = Gateway(server, upstream, owner)
    gateway.configure_upstream("openai", continue_after_disconnect_s=5.0)
    return gateway


def paced(reply: Reply) -> Any:
    """Stream a reply slowly."""
    return replied(reply, every_s=0.05)


def delayed(request: RecordedRequest) -> list[Step]:
    """Respond after a second."""
    return [Pause(1.0), *(streamed(frames_of(request)) if request.is_streamed else body_response(body_of(request)))]


def disconnect_midway(gateway: Gateway) -> None:
    connection = gateway.open(PATH, STREAMED)
    read_until(connection, b"word")
    connection.close()


@both_dialects
def test_a_stream_is_read_to_its_end_after_the_client_disconnected(detaching: Gateway, dialect: str) -> None:
    detaching.configure_upstream(dialect)
    detaching.upstream.queue(paced(LONG))

    disconnect_midway(detaching)

    row = detaching.record()
    assert (row.status, row.usage_source, row.stop_reason) == ("client_closed", "reported", "end_turn")
    assert (row.input_tokens, row.output_tokens) == (9, 12)
    assert [attempt["error"] for attempt in row.attempts] == [""]
    (request,) = detaching.upstream.requests
    assert request.outcome == "played"


@both_dialects
@both_bodies
def test_a_response_that_had_not_started_at_the_disconnect_is_read_too(
    detaching: Gateway, dialect: str, body: dict[str, Any]
) -> None:
    detaching.configure_upstream(dialect)
    detaching.upstream.queue(delayed)
    connection = detaching.open(PATH, body)
    wait_until(lambda: detaching.upstream.requests)

    connection.close()

    row = detaching.record()
    assert (row.status, row.usage_source, row.output_tokens) == ("client_closed", "reported", 12)
    assert detaching.upstream.requests[0].outcome == "played"


def test_the_connection_of_a_detached_request_serves_the_next_request(detaching: Gateway) -> None:
    detaching.upstream.queue(paced(LONG))
    disconnect_midway(detaching)
    detaching.record()

    detaching.post(PATH, PLAIN)

    assert len({request.connection for request in detaching.upstream.requests}) == 1


@both_dialects
def test_a_detached_request_is_aborted_at_its_limit_and_estimated(detaching: Gateway, dialect: str) -> None:
    detaching.configure_upstream(dialect, continue_after_disconnect_s=0.6)
    detaching.upstream.queue(paced(ENDLESS))

    disconnect_midway(detaching)
    disconnected_at = time.monotonic()

    (request,) = detaching.upstream.wait_for(lambda request: request.closed_by_peer_at)
    assert request.closed_by_peer_at is not None
    assert 0.5 <= request.closed_by_peer_at - disconnected_at <= 0.6 + DETECTED_WITHIN_S
    row = detaching.record()
    assert row.status == "client_closed"
    assert row.usage_source == {"openai": "estimated", "anthropic": "partial"}[dialect]
    assert row.output_tokens is not None and 5 <= row.output_tokens < 100


@both_bodies
def test_the_limit_holds_without_data_from_the_upstream(detaching: Gateway, body: dict[str, Any]) -> None:
    detaching.configure_upstream("openai", continue_after_disconnect_s=0.5)
    detaching.upstream.queue(WaitForPeer())
    connection = detaching.open(PATH, body)
    wait_until(lambda: detaching.upstream.requests)

    disconnected_at = time.monotonic()
    connection.close()

    (request,) = detaching.upstream.wait_for(lambda request: request.closed_by_peer_at)
    assert request.closed_by_peer_at is not None
    assert 0.4 <= request.closed_by_peer_at - disconnected_at <= 0.5 + DETECTED_WITHIN_S
    row = detaching.record()
    assert (row.status, row.usage_source) == ("client_closed", "estimated")


def test_no_attempt_begins_after_the_client_disconnected(detaching: Gateway) -> None:
    detaching.upstream.queue(lambda request: [Pause(0.5), *body_response(b"", status=529)], times=None)
    connection = detaching.open(PATH, PLAIN)
    wait_until(lambda: detaching.upstream.requests)

    connection.close()

    row = detaching.record()
    assert (row.status, row.usage_source) == ("client_closed", "none")
    assert (len(row.attempts), len(detaching.upstream.requests)) == (1, 1)


def test_requests_beyond_the_maximum_of_detached_ones_are_aborted_immediately(detaching: Gateway) -> None:
    detaching.configure_upstream("openai", continue_after_disconnect_s=2.0)
    detaching.upstream.queue(paced(ENDLESS), times=None)
    for _ in range(MAX_DETACHED + 1):
        disconnect_midway(detaching)
    disconnected_at = time.monotonic()

    (aborted,) = detaching.upstream.wait_for(lambda request: request.closed_by_peer_at)

    assert aborted.closed_by_peer_at is not None
    assert aborted.closed_by_peer_at - disconnected_at < DETECTED_WITHIN_S
    assert [request.outcome for request in detaching.upstream.requests].count("") == MAX_DETACHED
    rows = detaching.settled(MAX_DETACHED + 1, within_s=10)
    assert [row.status for row in rows] == ["client_closed"] * (MAX_DETACHED + 1)


def test_the_slot_of_a_detached_request_is_released(detaching: Gateway) -> None:
    detaching.upstream.queue(paced(LONG), times=None)
    for count in range(1, MAX_DETACHED + 2):
        disconnect_midway(detaching)
        rows = detaching.settled(count)

    assert {row.usage_source for row in rows} == {"reported"}


def test_shutdown_ends_a_detached_request_and_settles_its_record(
    transactional_db: None, static_files: None, upstream: ScriptedUpstream, owner: User
) -> None:
    with GatewayServer() as server:
        gateway = Gateway(server, upstream, owner)
        gateway.configure_upstream("anthropic", continue_after_disconnect_s=60.0)
        upstream.queue(paced(ENDLESS))
        disconnect_midway(gateway)
        time.sleep(0.3)  # three ticks of the watcher: the request is detached
        assert not upstream.requests[0].outcome

        started_at = time.monotonic()
        status = server.stop(with_signal=signal.SIGTERM)

        assert status == 0
        assert time.monotonic() - started_at < 6
    row = UsageRecord.objects.get()
    assert (row.status, row.usage_source) == ("client_closed", "partial")
    assert row.output_tokens is not None and row.output_tokens > 0
