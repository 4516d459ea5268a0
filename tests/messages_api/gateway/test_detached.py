"""Where an upstream bills a whole answer in any case, the rest is read for its usage after the caller has left."""

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
AT_MOST = 2
NOTICED_S = 1.0
"""How long it may take until a caller's leaving has had its effect upstream."""

both_dialects = pytest.mark.parametrize("dialect", ["openai", "anthropic"])
both_bodies = pytest.mark.parametrize("body", [PLAIN, STREAMED], ids=["plain", "streamed"])


@pytest.fixture(scope="module")
def server(django_db_setup: None, static_files: None) -> Iterator[GatewayServer]:
    with GatewayServer(MAX_DETACHED_REQUESTS=str(AT_MOST), HEARTBEAT_S="0.3") as server:
        yield server


@pytest.fixture
def reading(transactional_db: None, server: GatewayServer, upstream: ScriptedUpstream, owner: User) -> Gateway:
    """A gateway that reads on for five seconds."""
    gateway = Gateway(server, upstream, owner)
    gateway.speak("openai", continue_after_disconnect_s=5.0)
    return gateway


def slowly(reply: Reply) -> Any:
    """The reply as a stream that takes its time."""
    return replied(reply, every_s=0.05)


def late(call: RecordedRequest) -> list[Step]:
    """Silence for a second, and then a whole answer."""
    return [Pause(1.0), *(streamed(frames_of(call)) if call.is_streamed else body_response(body_of(call)))]


def leave_midway(gateway: Gateway) -> None:
    connection = gateway.open(PATH, STREAMED)
    read_until(connection, b"word")
    connection.close()


@both_dialects
def test_a_stream_whose_caller_left_midway_is_read_to_its_end(reading: Gateway, dialect: str) -> None:
    reading.speak(dialect)
    reading.upstream.queue(slowly(LONG))

    leave_midway(reading)

    row = reading.record()
    assert (row.status, row.usage_source, row.stop_reason) == ("client_closed", "reported", "end_turn")
    assert (row.input_tokens, row.output_tokens) == (9, 12)
    assert [attempt["error"] for attempt in row.attempts] == [""]
    (call,) = reading.upstream.requests
    assert call.outcome == "played"


@both_dialects
@both_bodies
def test_an_answer_that_had_not_begun_when_its_caller_left_is_read_too(
    reading: Gateway, dialect: str, body: dict[str, Any]
) -> None:
    reading.speak(dialect)
    reading.upstream.queue(late)
    connection = reading.open(PATH, body)
    wait_until(lambda: reading.upstream.requests)

    connection.close()

    row = reading.record()
    assert (row.status, row.usage_source, row.output_tokens) == ("client_closed", "reported", 12)
    assert reading.upstream.requests[0].outcome == "played"


def test_the_connection_of_an_answer_that_was_read_on_serves_the_next_call(reading: Gateway) -> None:
    reading.upstream.queue(slowly(LONG))
    leave_midway(reading)
    reading.record()

    reading.post(PATH, PLAIN)

    assert len({call.connection for call in reading.upstream.requests}) == 1


@both_dialects
def test_what_takes_longer_than_it_may_is_cut_and_estimated(reading: Gateway, dialect: str) -> None:
    reading.speak(dialect, continue_after_disconnect_s=0.6)
    reading.upstream.queue(slowly(ENDLESS))

    leave_midway(reading)
    left_at = time.monotonic()

    (call,) = reading.upstream.wait_for(lambda call: call.closed_by_peer_at)
    assert call.closed_by_peer_at is not None
    assert 0.5 <= call.closed_by_peer_at - left_at <= 0.6 + NOTICED_S
    row = reading.record()
    assert row.status == "client_closed"
    assert row.usage_source == {"openai": "estimated", "anthropic": "partial"}[dialect]
    assert row.output_tokens is not None and 5 <= row.output_tokens < 100


@both_bodies
def test_a_silence_is_not_waited_for_longer_either(reading: Gateway, body: dict[str, Any]) -> None:
    reading.speak("openai", continue_after_disconnect_s=0.5)
    reading.upstream.queue(WaitForPeer())
    connection = reading.open(PATH, body)
    wait_until(lambda: reading.upstream.requests)

    left_at = time.monotonic()
    connection.close()

    (call,) = reading.upstream.wait_for(lambda call: call.closed_by_peer_at)
    assert call.closed_by_peer_at is not None
    assert 0.4 <= call.closed_by_peer_at - left_at <= 0.5 + NOTICED_S
    row = reading.record()
    assert (row.status, row.usage_source) == ("client_closed", "estimated")


def test_no_attempt_begins_once_the_caller_has_left(reading: Gateway) -> None:
    reading.upstream.queue(lambda call: [Pause(0.5), *body_response(b"", status=529)], times=None)
    connection = reading.open(PATH, PLAIN)
    wait_until(lambda: reading.upstream.requests)

    connection.close()

    row = reading.record()
    assert (row.status, row.usage_source) == ("client_closed", "none")
    assert (len(row.attempts), len(reading.upstream.requests)) == (1, 1)


def test_only_so_many_are_read_on_at_a_time_and_one_more_is_cut_at_once(reading: Gateway) -> None:
    reading.speak("openai", continue_after_disconnect_s=2.0)
    reading.upstream.queue(slowly(ENDLESS), times=None)
    for _ in range(AT_MOST + 1):
        leave_midway(reading)
    left_at = time.monotonic()

    (cut,) = reading.upstream.wait_for(lambda call: call.closed_by_peer_at)

    assert cut.closed_by_peer_at is not None
    assert cut.closed_by_peer_at - left_at < NOTICED_S
    assert [call.outcome for call in reading.upstream.requests].count("") == AT_MOST
    rows = reading.settled(AT_MOST + 1, within_s=10)
    assert [row.status for row in rows] == ["client_closed"] * (AT_MOST + 1)


def test_the_right_to_read_on_is_given_back(reading: Gateway) -> None:
    reading.upstream.queue(slowly(LONG), times=None)
    for count in range(1, AT_MOST + 2):
        leave_midway(reading)
        rows = reading.settled(count)

    assert {row.usage_source for row in rows} == {"reported"}


def test_the_end_of_the_process_ends_the_reading_and_settles_the_row(
    transactional_db: None, static_files: None, upstream: ScriptedUpstream, owner: User
) -> None:
    with GatewayServer() as server:
        gateway = Gateway(server, upstream, owner)
        gateway.speak("anthropic", continue_after_disconnect_s=60.0)
        upstream.queue(slowly(ENDLESS))
        leave_midway(gateway)
        time.sleep(0.3)  # three looks of the watcher: it is being read on
        assert not upstream.requests[0].outcome

        begun = time.monotonic()
        status = server.stop(with_signal=signal.SIGTERM)

        assert status == 0
        assert time.monotonic() - begun < 6
    row = UsageRecord.objects.get()
    assert (row.status, row.usage_source) == ("client_closed", "partial")
    assert row.output_tokens is not None and row.output_tokens > 0
