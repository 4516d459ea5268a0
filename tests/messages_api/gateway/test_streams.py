"""Streams that break, callers that leave or stall, workers that end: one honest end, one settled row."""

import json
import os
import signal
import time
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User

from keys.models import APIKey, UsageRecord
from tests.support.gateway import Gateway, GatewayServer, events, read_until, wait_until
from tests.upstream import (
    Chunk,
    EndChunks,
    Head,
    Pause,
    RecordedRequest,
    Reply,
    Reset,
    ScriptedUpstream,
    WaitForPeer,
    failure,
    frames_of,
    paced,
    replied,
    streamed,
)
from tests.upstream.steps import Step

PATH = "/api/v1/messages"
STREAMED = {"model": "m", "max_tokens": 64, "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
PLAIN = STREAMED | {"stream": False}
SSE = {"content-type": "text/event-stream"}

both_dialects = pytest.mark.parametrize("dialect", ["openai", "anthropic"])


@pytest.fixture(scope="module")
def impatient_server(django_db_setup: None, static_files: None) -> Iterator[GatewayServer]:
    """A gateway with short deadlines."""
    with GatewayServer(
        HEARTBEAT_S="0.4", CLIENT_SEND_TIMEOUT_S="1.5", CLIENT_BODY_TIMEOUT_S="1", GRACEFUL_TIMEOUT_S="7"
    ) as server:
        yield server


@pytest.fixture
def impatient(
    transactional_db: None, impatient_server: GatewayServer, upstream: ScriptedUpstream, owner: User
) -> Gateway:
    return Gateway(impatient_server, upstream, owner)


def beginning(call: RecordedRequest, frames: int) -> list[Step]:
    """The first frames of a good stream, and no end."""
    return [Head(headers=SSE), *(Chunk(frame) for frame in frames_of(call)[:frames])]


@both_dialects
def test_a_stream_that_breaks_ends_with_an_error_and_without_done(impatient: Gateway, dialect: str) -> None:
    impatient.speak(dialect)
    impatient.upstream.queue(lambda call: [*beginning(call, 3), Pause(0.1), Reset()])

    lines = impatient.post(PATH, STREAMED).lines()

    assert json.loads(lines[-1].removeprefix("data: "))["error"]["type"] == "api_error"
    assert "data: [DONE]" not in lines
    row = impatient.record()
    assert (row.status, row.error_type) == ("failed", "api_error")
    assert row.usage_source == {"openai": "estimated", "anthropic": "partial"}[dialect]


@both_dialects
def test_a_stream_that_just_stops_is_an_error_too(impatient: Gateway, dialect: str) -> None:
    impatient.speak(dialect)
    impatient.upstream.queue(lambda call: streamed(frames_of(call)[:4]))

    lines = impatient.post(PATH, STREAMED).lines()

    assert "error" in json.loads(lines[-1].removeprefix("data: "))
    assert impatient.record().status == "failed"


@both_dialects
@pytest.mark.parametrize("body", [PLAIN, STREAMED], ids=["plain", "streamed"])
@pytest.mark.parametrize(
    ("status", "expected", "type"),
    [
        (400, 400, "invalid_request_error"),
        (401, 502, "api_error"),
    ],
)
def test_a_failure_before_the_first_event_is_a_real_status(
    impatient: Gateway, dialect: str, body: dict[str, object], status: int, expected: int, type: str
) -> None:
    impatient.speak(dialect)
    impatient.upstream.queue(failure(status, "What the upstream said."))

    answer = impatient.post(PATH, body)

    assert (answer.status, answer.json()["data"]["error"]["type"]) == (expected, type)
    row = impatient.record()
    assert (row.status, row.error_type, row.http_status, row.usage_source) == ("failed", type, expected, "none")


@pytest.mark.parametrize("body", [PLAIN, STREAMED], ids=["plain", "streamed"])
def test_an_upstream_that_is_not_there_is_a_502(gateway: Gateway, body: dict[str, object]) -> None:
    gateway.upstream.refuse()

    answer = gateway.post(PATH, body)

    assert (answer.status, answer.json()["data"]["error"]["type"]) == (502, "api_error")
    row = gateway.record()
    assert (row.status, row.usage_source) == ("failed", "none")


def test_an_upstream_that_never_answers_a_plain_call_is_a_504_at_the_first_byte_deadline(impatient: Gateway) -> None:
    impatient.speak("openai", connect_timeout_s=0.5, first_byte_timeout_s=0.7)
    impatient.upstream.queue([WaitForPeer()])

    begun = time.monotonic()
    answer = impatient.post(PATH, PLAIN)

    assert (answer.status, answer.json()["data"]["error"]["type"]) == (504, "timeout_error")
    assert time.monotonic() - begun < 3
    row = impatient.record()
    assert (row.status, row.error_type, row.usage_source) == ("failed", "timeout_error", "estimated")


def test_a_silence_inside_a_stream_ends_it_at_the_silence_deadline(impatient: Gateway) -> None:
    impatient.speak("openai", idle_timeout_s=1.0)
    impatient.upstream.queue(lambda call: [*beginning(call, 2), WaitForPeer()])

    lines = impatient.post(PATH, STREAMED).lines()

    assert json.loads(lines[-1].removeprefix("data: "))["error"]["type"] == "timeout_error"
    assert impatient.record().error_type == "timeout_error"


def test_one_byte_a_second_does_not_outwit_the_deadlines(impatient: Gateway) -> None:
    impatient.speak("openai", idle_timeout_s=1.0, request_timeout_s=30)
    impatient.upstream.queue(lambda call: [*beginning(call, 2), *paced([b"x"] * 100, 0.2)])

    begun = time.monotonic()
    lines = impatient.post(PATH, STREAMED).lines()

    assert json.loads(lines[-1].removeprefix("data: "))["error"]["type"] == "timeout_error"
    assert time.monotonic() - begun < 4


def test_the_total_deadline_ends_a_stream_that_goes_on_for_ever(impatient: Gateway) -> None:
    impatient.speak("openai", request_timeout_s=1.5)
    impatient.upstream.queue(replied(Reply(["word "] * 500), every_s=0.05))

    begun = time.monotonic()
    lines = impatient.post(PATH, STREAMED).lines()

    assert json.loads(lines[-1].removeprefix("data: "))["error"]["type"] == "timeout_error"
    assert 1 < time.monotonic() - begun < 4


def test_a_silent_stream_gets_pings(impatient: Gateway) -> None:
    impatient.upstream.queue(
        lambda call: [*beginning(call, 2), Pause(1.3), *(Chunk(frame) for frame in frames_of(call)[2:]), EndChunks()]
    )

    lines = impatient.post(PATH, STREAMED).lines()

    assert lines.count(": ping") >= 2
    assert lines[-1] == "data: [DONE]"
    assert impatient.record().status == "completed"


def test_an_answer_that_begins_late_is_announced_with_pings(impatient: Gateway) -> None:
    impatient.upstream.queue(lambda call: [Pause(1.2), *streamed(frames_of(call))])

    answer = impatient.post(PATH, STREAMED)

    lines = answer.lines()
    assert answer.status == 200
    assert lines[0] == ": ping"
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in events(lines)) == "Hello, world!"
    assert lines[-1] == "data: [DONE]"
    assert impatient.record().status == "completed"


def test_a_failure_after_the_pings_is_an_error_line(impatient: Gateway) -> None:
    impatient.upstream.queue(lambda call: [Pause(1.0), *failure(529, "Overloaded.")(call)], times=None)

    answer = impatient.post(PATH, STREAMED)

    assert answer.status == 200
    assert list(events(answer.lines()))[-1]["error"]["type"] == "overloaded_error"
    assert impatient.record().error_type == "overloaded_error"


@both_dialects
@pytest.mark.parametrize("body", [PLAIN, STREAMED], ids=["plain", "streamed"])
def test_a_caller_that_leaves_while_the_model_is_silent_frees_the_upstream_within_a_second(
    impatient: Gateway, dialect: str, body: dict[str, object]
) -> None:
    impatient.speak(dialect)
    impatient.upstream.queue([WaitForPeer()])
    connection = impatient.open(PATH, body)
    wait_until(lambda: impatient.upstream.requests)

    left_at = time.monotonic()
    connection.close()

    (call,) = impatient.upstream.wait_for(lambda call: call.closed_by_peer_at)
    assert call.closed_by_peer_at - left_at < 1.0  # type: ignore[operator]
    row = impatient.record()
    assert (row.status, row.usage_source) == ("client_closed", "estimated")


def test_a_caller_that_leaves_in_the_middle_of_a_stream_is_settled_with_what_went_by(impatient: Gateway) -> None:
    impatient.upstream.queue(replied(Reply(["four"] * 300), every_s=0.05))
    connection = impatient.open(PATH, STREAMED)
    read_until(connection, b"four")
    time.sleep(0.5)

    left_at = time.monotonic()
    connection.close()

    (call,) = impatient.upstream.wait_for(lambda call: call.closed_by_peer_at)
    assert call.closed_by_peer_at - left_at < 1.0  # type: ignore[operator]
    row = impatient.record()
    assert (row.status, row.usage_source) == ("client_closed", "estimated")
    assert row.output_tokens is not None and 5 <= row.output_tokens <= 40


def test_a_caller_that_half_closes_has_left(impatient: Gateway) -> None:
    impatient.upstream.queue(lambda call: [*beginning(call, 2), WaitForPeer()])
    connection = impatient.open(PATH, STREAMED)
    read_until(connection, b"data: ")

    connection.shutdown(1)

    impatient.upstream.wait_for(lambda call: call.closed_by_peer_at, within_s=1)
    assert impatient.record().status == "client_closed"
    connection.close()


def test_a_caller_that_reads_nothing_is_cut(impatient: Gateway) -> None:
    impatient.upstream.queue(replied(Reply(["x" * 60_000] * 400)))
    connection = impatient.open(PATH, STREAMED)
    read_until(connection, b"data: ")

    row = impatient.record(within_s=10)

    assert row.status == "client_stalled"
    connection.close()


def test_a_body_that_never_comes_is_given_up(impatient: Gateway) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {impatient.raw_key}\r\n"
    connection = impatient.connect()
    connection.sendall(f"{head}Content-Length: 500\r\n\r\n{{".encode())

    begun = time.monotonic()
    answer = read_until(connection, b"\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 400")
    assert time.monotonic() - begun < 3
    connection.close()


def test_a_stream_leaves_the_connection_to_the_upstream_open_for_the_next_call(impatient: Gateway) -> None:
    for body in (STREAMED, PLAIN, STREAMED):
        impatient.post(PATH, body)
    impatient.settled(3)

    assert len({call.connection for call in impatient.upstream.requests}) == 1


def test_kill_9_leaves_orphans_and_no_finished_call_is_touched(
    transactional_db: None, upstream: ScriptedUpstream, owner: User
) -> None:
    with GatewayServer() as server:
        gateway = Gateway(server, upstream, owner)
        gateway.post(PATH, PLAIN)
        finished = gateway.record().id
        upstream.queue(lambda call: [*beginning(call, 3), WaitForPeer()])
        connection = gateway.open(PATH, STREAMED)
        read_until(connection, b"Hello")
        (worker,) = server.worker_pids()

        os.kill(worker, signal.SIGKILL)
        rows = {row.id: row for row in gateway.settled(2, within_s=15)}
        connection.close()

    assert rows.pop(finished).status == "completed"
    (orphan,) = rows.values()
    assert (orphan.status, orphan.usage_source) == ("interrupted", "estimated")


def test_sigterm_lets_short_streams_end_and_tells_the_long_ones_honestly(
    transactional_db: None, static_files: None, upstream: ScriptedUpstream, owner: User
) -> None:
    with GatewayServer(GRACEFUL_TIMEOUT_S="8") as server:
        gateway = Gateway(server, upstream, owner)
        upstream.queue(replied(Reply(["s "] * 10), every_s=0.1))
        short = gateway.open(PATH, STREAMED)
        read_until(short, b"s ")
        upstream.queue(replied(Reply(["l "] * 1000), every_s=0.1))
        long = gateway.open(PATH, STREAMED)
        read_until(long, b"l ")

        status = server.stop()

        assert status == 0
        assert b"data: [DONE]" in read_until(short, b"0\r\n\r\n")
        ending = read_until(long, b"0\r\n\r\n")
        assert b"overloaded_error" in ending
        assert b"[DONE]" not in ending
        short.close()
        long.close()
    assert set(UsageRecord.objects.values_list("status", "error_type")) == {
        ("completed", ""),
        ("failed", "overloaded_error"),
    }


@pytest.mark.parametrize("wait_s", [0.0, 0.2, 0.5, 0.8])
def test_a_worker_that_is_told_to_end_while_it_starts_ends_at_once(transactional_db: None, wait_s: float) -> None:
    server = GatewayServer()
    server.launch()
    wait_until(server.worker_pids, within_s=10)
    time.sleep(wait_s)

    begun = time.monotonic()
    status = server.stop()

    assert status == 0
    assert time.monotonic() - begun < 8  # its grace is ten


def test_an_idle_connection_does_not_hold_up_the_end(
    transactional_db: None, static_files: None, upstream: ScriptedUpstream, owner: User
) -> None:
    with GatewayServer() as server:
        gateway = Gateway(server, upstream, owner)
        idle = gateway.open(PATH, PLAIN)
        read_until(idle, b"}}")

        begun = time.monotonic()
        status = server.stop()

        assert status == 0
        assert time.monotonic() - begun < 4
        assert b"mgw_" not in b"".join(iter(lambda: idle.recv(4096), b""))  # it ends
        idle.close()


def test_a_compromised_key_takes_its_running_calls_with_it(gateway: Gateway) -> None:
    gateway.upstream.queue(replied(Reply(["word "] * 600), every_s=0.05))
    other, _ = APIKey.objects.issue(name="other", owner=gateway.owner)
    stream = gateway.open(PATH, STREAMED)
    read_until(stream, b"word")

    begun = time.monotonic()
    other.revoke(reason="compromised")
    gateway.key.revoke(reason="compromised", note="found in a public repository")
    ending = read_until(stream, b"0\r\n\r\n")

    assert time.monotonic() - begun < 15
    assert b"authentication_error" in ending and b"[DONE]" not in ending
    assert (gateway.record().status, gateway.record().error_type) == ("failed", "authentication_error")
    stream.close()


def test_a_key_that_is_revoked_for_another_reason_lets_its_running_calls_end(gateway: Gateway) -> None:
    gateway.upstream.queue(replied(Reply(["word "] * 140), every_s=0.05))
    stream = gateway.open(PATH, STREAMED)
    read_until(stream, b"word")

    gateway.key.revoke(reason="unused")

    assert b"data: [DONE]" in read_until(stream, b"0\r\n\r\n")
    stream.close()
