"""Broken streams, client disconnects and timeouts, shutdown: each request ends once and has one settled record."""

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
def fast_server(django_db_setup: None, static_files: None) -> Iterator[GatewayServer]:
    """A gateway with short timeouts."""
    with GatewayServer(
        HEARTBEAT_S="0.4", CLIENT_SEND_TIMEOUT_S="1.5", CLIENT_BODY_TIMEOUT_S="1", GRACEFUL_TIMEOUT_S="7"
    ) as server:
        yield server


@pytest.fixture
def fast(transactional_db: None, fast_server: GatewayServer, upstream: ScriptedUpstream, owner: User) -> Gateway:
    return Gateway(fast_server, upstream, owner)


def beginning(request: RecordedRequest, frames: int) -> list[Step]:
    """Return the first frames of a valid stream, which does not end."""
    return [Head(headers=SSE), *(Chunk(frame) for frame in frames_of(request)[:frames])]


@both_dialects
def test_a_stream_that_breaks_ends_with_an_error_and_without_done(fast: Gateway, dialect: str) -> None:
    fast.configure_upstream(dialect)
    fast.upstream.queue(lambda request: [*beginning(request, 3), Pause(0.1), Reset()])

    lines = fast.post(PATH, STREAMED).lines()

    assert json.loads(lines[-1].removeprefix("data: "))["error"]["type"] == "api_error"
    assert "data: [DONE]" not in lines
    row = fast.record()
    assert (row.status, row.error_type) == ("failed", "api_error")
    assert row.usage_source == {"openai": "estimated", "anthropic": "partial"}[dialect]


@both_dialects
def test_a_stream_that_stops_without_an_end_is_an_error_too(fast: Gateway, dialect: str) -> None:
    fast.configure_upstream(dialect)
    fast.upstream.queue(lambda request: streamed(frames_of(request)[:4]))

    lines = fast.post(PATH, STREAMED).lines()

    assert "error" in json.loads(lines[-1].removeprefix("data: "))
    assert fast.record().status == "failed"


@both_dialects
@pytest.mark.parametrize("body", [PLAIN, STREAMED], ids=["plain", "streamed"])
@pytest.mark.parametrize(
    ("status", "expected", "type"),
    [
        (400, 400, "invalid_request_error"),
        (401, 502, "api_error"),
    ],
)
def test_a_failure_before_the_first_event_is_an_http_status(
    fast: Gateway, dialect: str, body: dict[str, object], status: int, expected: int, type: str
) -> None:
    fast.configure_upstream(dialect)
    fast.upstream.queue(failure(status, "What the upstream said."))

    response = fast.post(PATH, body)

    assert (response.status, response.json()["data"]["error"]["type"]) == (expected, type)
    row = fast.record()
    assert (row.status, row.error_type, row.http_status, row.usage_source) == ("failed", type, expected, "none")


@pytest.mark.parametrize("body", [PLAIN, STREAMED], ids=["plain", "streamed"])
def test_an_unreachable_upstream_is_a_502(gateway: Gateway, body: dict[str, object]) -> None:
    gateway.upstream.refuse()

    response = gateway.post(PATH, body)

    assert (response.status, response.json()["data"]["error"]["type"]) == (502, "api_error")
    row = gateway.record()
    assert (row.status, row.usage_source) == ("failed", "none")


def test_an_upstream_that_never_responds_is_a_504_at_the_first_byte_timeout(fast: Gateway) -> None:
    fast.configure_upstream("openai", connect_timeout_s=0.5, first_byte_timeout_s=0.7)
    fast.upstream.queue([WaitForPeer()])

    started_at = time.monotonic()
    response = fast.post(PATH, PLAIN)

    assert (response.status, response.json()["data"]["error"]["type"]) == (504, "timeout_error")
    assert time.monotonic() - started_at < 3
    row = fast.record()
    assert (row.status, row.error_type, row.usage_source) == ("failed", "timeout_error", "estimated")


def test_a_stream_without_data_ends_at_the_idle_timeout(fast: Gateway) -> None:
    fast.configure_upstream("openai", idle_timeout_s=1.0)
    fast.upstream.queue(lambda request: [*beginning(request, 2), WaitForPeer()])

    lines = fast.post(PATH, STREAMED).lines()

    assert json.loads(lines[-1].removeprefix("data: "))["error"]["type"] == "timeout_error"
    assert fast.record().error_type == "timeout_error"


def test_single_bytes_do_not_extend_the_idle_timeout(fast: Gateway) -> None:
    fast.configure_upstream("openai", idle_timeout_s=1.0, request_timeout_s=30)
    fast.upstream.queue(lambda request: [*beginning(request, 2), *paced([b"x"] * 100, 0.2)])

    started_at = time.monotonic()
    lines = fast.post(PATH, STREAMED).lines()

    assert json.loads(lines[-1].removeprefix("data: "))["error"]["type"] == "timeout_error"
    assert time.monotonic() - started_at < 4


def test_the_request_timeout_ends_a_stream_that_never_ends(fast: Gateway) -> None:
    fast.configure_upstream("openai", request_timeout_s=1.5)
    fast.upstream.queue(replied(Reply(["word "] * 500), every_s=0.05))

    started_at = time.monotonic()
    lines = fast.post(PATH, STREAMED).lines()

    assert json.loads(lines[-1].removeprefix("data: "))["error"]["type"] == "timeout_error"
    assert 1 < time.monotonic() - started_at < 4


def test_a_stream_without_data_gets_pings(fast: Gateway) -> None:
    fast.upstream.queue(
        lambda request: [
            *beginning(request, 2),
            Pause(1.3),
            *(Chunk(frame) for frame in frames_of(request)[2:]),
            EndChunks(),
        ]
    )

    lines = fast.post(PATH, STREAMED).lines()

    assert lines.count(": ping") >= 2
    assert lines[-1] == "data: [DONE]"
    assert fast.record().status == "completed"


def test_a_response_that_starts_late_begins_with_pings(fast: Gateway) -> None:
    fast.upstream.queue(lambda request: [Pause(1.2), *streamed(frames_of(request))])

    response = fast.post(PATH, STREAMED)

    lines = response.lines()
    assert response.status == 200
    assert lines[0] == ": ping"
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in events(lines)) == "Hello, world!"
    assert lines[-1] == "data: [DONE]"
    assert fast.record().status == "completed"


def test_a_failure_after_pings_is_an_error_event(fast: Gateway) -> None:
    fast.upstream.queue(lambda request: [Pause(1.0), *failure(529, "Overloaded.")(request)], times=None)

    response = fast.post(PATH, STREAMED)

    assert response.status == 200
    assert list(events(response.lines()))[-1]["error"]["type"] == "overloaded_error"
    assert fast.record().error_type == "overloaded_error"


@both_dialects
@pytest.mark.parametrize("body", [PLAIN, STREAMED], ids=["plain", "streamed"])
def test_a_disconnect_before_the_first_byte_aborts_the_upstream_within_a_second(
    fast: Gateway, dialect: str, body: dict[str, object]
) -> None:
    fast.configure_upstream(dialect)
    fast.upstream.queue([WaitForPeer()])
    connection = fast.open(PATH, body)
    wait_until(lambda: fast.upstream.requests)

    disconnected_at = time.monotonic()
    connection.close()

    (request,) = fast.upstream.wait_for(lambda request: request.closed_by_peer_at)
    assert request.closed_by_peer_at - disconnected_at < 1.0  # type: ignore[operator]
    row = fast.record()
    assert (row.status, row.usage_source) == ("client_closed", "estimated")


def test_a_disconnect_midway_is_settled_with_the_tokens_until_then(fast: Gateway) -> None:
    fast.upstream.queue(replied(Reply(["four"] * 300), every_s=0.05))
    connection = fast.open(PATH, STREAMED)
    read_until(connection, b"four")
    time.sleep(0.5)

    disconnected_at = time.monotonic()
    connection.close()

    (request,) = fast.upstream.wait_for(lambda request: request.closed_by_peer_at)
    assert request.closed_by_peer_at - disconnected_at < 1.0  # type: ignore[operator]
    row = fast.record()
    assert (row.status, row.usage_source) == ("client_closed", "estimated")
    assert row.output_tokens is not None and 5 <= row.output_tokens <= 40


def test_a_half_closed_connection_is_a_disconnect(fast: Gateway) -> None:
    fast.upstream.queue(lambda request: [*beginning(request, 2), WaitForPeer()])
    connection = fast.open(PATH, STREAMED)
    read_until(connection, b"data: ")

    connection.shutdown(1)

    fast.upstream.wait_for(lambda request: request.closed_by_peer_at, within_s=1)
    assert fast.record().status == "client_closed"
    connection.close()


def test_a_client_that_does_not_read_times_out(fast: Gateway) -> None:
    fast.upstream.queue(replied(Reply(["x" * 60_000] * 400)))
    connection = fast.open(PATH, STREAMED)
    read_until(connection, b"data: ")

    row = fast.record(within_s=10)

    assert row.status == "client_stalled"
    connection.close()


def test_a_body_that_never_arrives_times_out(fast: Gateway) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {fast.raw_key}\r\n"
    connection = fast.connect()
    connection.sendall(f"{head}Content-Length: 500\r\n\r\n{{".encode())

    started_at = time.monotonic()
    response = read_until(connection, b"\r\n\r\n")

    assert response.startswith(b"HTTP/1.1 400")
    assert time.monotonic() - started_at < 3
    connection.close()


def test_a_stream_leaves_the_upstream_connection_open_for_the_next_request(fast: Gateway) -> None:
    for body in (STREAMED, PLAIN, STREAMED):
        fast.post(PATH, body)
    fast.settled(3)

    assert len({request.connection for request in fast.upstream.requests}) == 1


def test_kill_9_leaves_orphans_and_changes_no_settled_record(
    transactional_db: None, upstream: ScriptedUpstream, owner: User
) -> None:
    with GatewayServer() as server:
        gateway = Gateway(server, upstream, owner)
        gateway.post(PATH, PLAIN)
        finished = gateway.record().id
        upstream.queue(lambda request: [*beginning(request, 3), WaitForPeer()])
        connection = gateway.open(PATH, STREAMED)
        read_until(connection, b"Hello")
        (worker,) = server.worker_pids()

        os.kill(worker, signal.SIGKILL)
        rows = {row.id: row for row in gateway.settled(2, within_s=15)}
        connection.close()

    assert rows.pop(finished).status == "completed"
    (orphan,) = rows.values()
    assert (orphan.status, orphan.usage_source) == ("interrupted", "estimated")


def test_sigterm_lets_short_streams_end_and_ends_long_ones_with_an_error(
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
        rest = read_until(long, b"0\r\n\r\n")
        assert b"overloaded_error" in rest
        assert b"[DONE]" not in rest
        short.close()
        long.close()
    assert set(UsageRecord.objects.values_list("status", "error_type")) == {
        ("completed", ""),
        ("failed", "overloaded_error"),
    }


@pytest.mark.parametrize("wait_s", [0.0, 0.2, 0.5, 0.8])
def test_a_worker_that_gets_sigterm_while_it_starts_ends_immediately(transactional_db: None, wait_s: float) -> None:
    server = GatewayServer()
    server.launch()
    wait_until(server.worker_pids, within_s=10)
    time.sleep(wait_s)

    started_at = time.monotonic()
    status = server.stop()

    assert status == 0
    assert time.monotonic() - started_at < 8  # its graceful timeout is ten


def test_an_idle_connection_does_not_delay_shutdown(
    transactional_db: None, static_files: None, upstream: ScriptedUpstream, owner: User
) -> None:
    with GatewayServer() as server:
        gateway = Gateway(server, upstream, owner)
        idle = gateway.open(PATH, PLAIN)
        read_until(idle, b"}}")

        started_at = time.monotonic()
        status = server.stop()

        assert status == 0
        assert time.monotonic() - started_at < 4
        assert b"mgw_" not in b"".join(iter(lambda: idle.recv(4096), b""))  # it ends
        idle.close()


def test_a_compromised_key_ends_its_in_flight_requests(gateway: Gateway) -> None:
    gateway.upstream.queue(replied(Reply(["word "] * 600), every_s=0.05))
    other, _ = APIKey.objects.issue(name="other", owner=gateway.owner)
    stream = gateway.open(PATH, STREAMED)
    read_until(stream, b"word")

    started_at = time.monotonic()
    other.revoke(reason="compromised")
    gateway.key.revoke(reason="compromised", note="found in a public repository")
    rest = read_until(stream, b"0\r\n\r\n")

    assert time.monotonic() - started_at < 15
    assert b"authentication_error" in rest and b"[DONE]" not in rest
    assert (gateway.record().status, gateway.record().error_type) == ("failed", "authentication_error")
    stream.close()


def test_a_key_revoked_for_another_reason_lets_its_in_flight_requests_end(gateway: Gateway) -> None:
    gateway.upstream.queue(replied(Reply(["word "] * 140), every_s=0.05))
    stream = gateway.open(PATH, STREAMED)
    read_until(stream, b"word")

    gateway.key.revoke(reason="unused")

    assert b"data: [DONE]" in read_until(stream, b"0\r\n\r\n")
    stream.close()
