"""The scripted upstream: both dialects, steps and scenarios."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anthropic
import openai
import pytest

from tests.upstream import (
    SCENARIOS,
    Chunk,
    Close,
    Dribble,
    FaultProxy,
    HalfClose,
    Head,
    Reply,
    Reset,
    ScriptedUpstream,
    Send,
    WaitForPeer,
    anthropic_stream,
    failure,
    openai_stream,
    replied,
)

MESSAGES = [{"role": "user", "content": "Hi"}]


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    """Return the upstream of the common fixture. It is repeated here because this file also runs without Django."""
    with ScriptedUpstream() as server:
        yield server


@pytest.fixture
def openai_sdk(upstream: ScriptedUpstream) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{upstream.url}/v1", api_key="sk-test", max_retries=0) as sdk:
        yield sdk


@pytest.fixture
def anthropic_sdk(upstream: ScriptedUpstream) -> Iterator[Any]:
    with anthropic.Anthropic(base_url=upstream.url, api_key="sk-test", max_retries=0) as sdk:
        yield sdk


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def request_bytes(body: dict[str, Any], *, path: str = "/v1/chat/completions", extra: str = "") -> bytes:
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: test\r\n{extra}content-length: {len(data)}\r\n\r\n"
    return head.encode() + data


def read_all(sock: socket.socket) -> bytes:
    """Return the bytes up to the peer's FIN."""
    data = b""
    while more := sock.recv(65536):
        data += more
    return data


def read_until(sock: socket.socket, mark: bytes) -> bytes:
    data = b""
    while mark not in data:
        more = sock.recv(65536)
        assert more, data
        data += more
    return data


def texts_of(stream: Any) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


def test_the_openai_sdk_reads_a_plain_response(upstream: ScriptedUpstream, openai_sdk: Any) -> None:
    response = openai_sdk.chat.completions.create(model="m", messages=MESSAGES)

    assert response.choices[0].message.content == "Hello, world!"
    assert response.choices[0].finish_reason == "stop"
    assert (response.usage.prompt_tokens, response.usage.completion_tokens) == (9, 12)
    [recorded] = upstream.requests
    assert (recorded.dialect, recorded.path, recorded.body) == (
        "openai",
        "/v1/chat/completions",
        {"model": "m", "messages": MESSAGES},
    )
    assert recorded.headers["authorization"] == "Bearer sk-test"


def test_the_openai_sdk_reads_a_stream(openai_sdk: Any) -> None:
    options = {"include_usage": True}

    chunks = list(openai_sdk.chat.completions.create(model="m", messages=MESSAGES, stream=True, stream_options=options))

    assert [chunk.choices[0].delta.content for chunk in chunks[:-1]] == ["", "Hello", ", ", "world!", None]
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert (chunks[-1].choices, chunks[-1].usage.completion_tokens) == ([], 12)


def test_an_openai_stream_reports_usage_only_on_request(openai_sdk: Any) -> None:
    chunks = list(openai_sdk.chat.completions.create(model="m", messages=MESSAGES, stream=True))

    assert [chunk.usage for chunk in chunks] == [None] * 5


def test_the_anthropic_sdk_reads_a_plain_response(upstream: ScriptedUpstream, anthropic_sdk: Any) -> None:
    message = anthropic_sdk.messages.create(model="m", max_tokens=64, messages=MESSAGES)

    assert [block.text for block in message.content] == ["Hello, world!"]
    assert message.stop_reason == "end_turn"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (9, 12)
    assert upstream.requests[0].dialect == "anthropic"


def test_the_anthropic_sdk_reads_a_stream(anthropic_sdk: Any) -> None:
    events = list(anthropic_sdk.messages.create(model="m", max_tokens=64, messages=MESSAGES, stream=True))
    with anthropic_sdk.messages.stream(model="m", max_tokens=64, messages=MESSAGES) as stream:
        message = stream.get_final_message()

    assert [event.type for event in events if event.type != "ping"] == [
        "message_start",
        "content_block_start",
        *["content_block_delta"] * 3,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert message.content[0].text == "Hello, world!"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (9, 12)


def test_both_sdks_count_tokens_and_list_models(openai_sdk: Any, anthropic_sdk: Any) -> None:
    count = anthropic_sdk.messages.count_tokens(model="m", messages=MESSAGES)

    assert count.input_tokens == 9
    assert "scripted-text" in [model.id for model in openai_sdk.models.list()]
    assert "scripted-text" in [model.id for model in anthropic_sdk.models.list(limit=1000)]


def test_both_sdks_read_tool_calls_and_thinking(openai_sdk: Any, anthropic_sdk: Any) -> None:
    tools = openai_sdk.chat.completions.create(model="scripted-tools", messages=MESSAGES).choices[0]
    with anthropic_sdk.messages.stream(model="scripted-tools", max_tokens=64, messages=MESSAGES) as stream:
        message = stream.get_final_message()
    thinking = anthropic_sdk.messages.create(model="scripted-thinking", max_tokens=64, messages=MESSAGES)

    assert [recorded.function.name for recorded in tools.message.tool_calls] == ["get_weather", "get_time"]
    assert tools.finish_reason == "tool_calls"
    assert [block.type for block in message.content] == ["text", "tool_use", "tool_use"]
    assert message.content[1].input == {"city": "Paris", "unit": "celsius"}
    assert [block.type for block in thinking.content] == ["thinking", "text"]


@pytest.mark.parametrize("name", ["sse-cr", "sse-crlf", "sse-crlf-cut", "sse-lines", "usage-early", "usage-split"])
def test_variants_of_a_stream_have_the_same_content(name: str, openai_sdk: Any, anthropic_sdk: Any) -> None:
    stream = openai_sdk.chat.completions.create(model=f"scripted-{name}", messages=MESSAGES, stream=True)
    with anthropic_sdk.messages.stream(model=f"scripted-{name}", max_tokens=64, messages=MESSAGES) as events:
        message = events.get_final_message()

    assert texts_of(stream) == "Hello, world!"
    assert message.content[0].text == "Hello, world!"


def test_responses_are_sent_in_order_and_in_the_dialect_of_the_request(
    upstream: ScriptedUpstream, openai_sdk: Any, anthropic_sdk: Any
) -> None:
    upstream.queue(failure(529, "Overloaded."), times=2)
    upstream.queue(replied(Reply(["Later."])))

    with pytest.raises(openai.InternalServerError) as openai_error:
        openai_sdk.chat.completions.create(model="m", messages=MESSAGES)
    with pytest.raises(anthropic.APIStatusError) as anthropic_error:
        anthropic_sdk.messages.create(model="m", max_tokens=64, messages=MESSAGES)
    third = openai_sdk.chat.completions.create(model="m", messages=MESSAGES)
    fourth = openai_sdk.chat.completions.create(model="m", messages=MESSAGES)

    assert openai_error.value.status_code == 529
    assert anthropic_error.value.type == "overloaded_error"
    assert third.choices[0].message.content == "Later."
    assert fourth.choices[0].message.content == "Hello, world!"


@pytest.mark.parametrize("leave", ["close", "half-close", "reset"])
def test_a_disconnect_during_a_pause_is_detected_immediately(leave: str, upstream: ScriptedUpstream) -> None:
    upstream.queue(Head(), WaitForPeer())

    with connect(upstream.port) as sock:
        sock.sendall(request_bytes({"stream": True}))
        read_until(sock, b"\r\n\r\n")
        disconnected_at = time.monotonic()
        if leave == "half-close":
            sock.shutdown(socket.SHUT_WR)
        elif leave == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            sock.close()
        else:
            sock.close()
        [recorded] = upstream.wait_for(lambda recorded: recorded.ended_at, within_s=1)

    assert recorded.closed_by_peer_at is not None
    assert recorded.closed_by_peer_at - disconnected_at < 0.2
    assert recorded.outcome == ("peer_reset" if leave == "reset" else "peer_closed")


def test_reset_is_a_reset(upstream: ScriptedUpstream) -> None:
    upstream.queue(Reset())

    with connect(upstream.port) as sock:
        sock.sendall(request_bytes({}))
        with pytest.raises(ConnectionResetError):
            sock.recv(1)


def test_close_ends_the_bytes_without_an_error(upstream: ScriptedUpstream) -> None:
    upstream.queue(Head(framing="none"), Send(b"half"), Close())

    with connect(upstream.port) as sock:
        sock.sendall(request_bytes({}))
        data = read_all(sock)

    assert data == b"HTTP/1.1 200 Scripted\r\n\r\nhalf"


def test_half_close_ends_the_bytes_while_the_connection_stays(upstream: ScriptedUpstream) -> None:
    upstream.queue(Head(), Chunk(b"half"), HalfClose(), WaitForPeer())

    with connect(upstream.port) as sock:
        sock.sendall(request_bytes({}))
        data = read_all(sock)
        sock.sendall(b"still taken")
        is_running = upstream.requests[0].ended_at is None

    assert data.endswith(b"4\r\nhalf\r\n")
    assert is_running
    upstream.wait_for(lambda recorded: recorded.ended_at)


def test_dribble_sends_single_bytes(upstream: ScriptedUpstream) -> None:
    upstream.queue(Dribble(b"0123456789", per_s=50), Close())

    with connect(upstream.port) as sock:
        sock.sendall(request_bytes({}))
        started_at = time.monotonic()
        pieces = []
        while piece := sock.recv(100):
            pieces.append(piece)
        duration_s = time.monotonic() - started_at

    assert b"".join(pieces) == b"0123456789"
    assert len(pieces) >= 5
    assert duration_s > 0.15


def test_connections_are_refused_and_accepted_on_the_same_port(upstream: ScriptedUpstream) -> None:
    port = upstream.port

    upstream.refuse()
    with pytest.raises(ConnectionRefusedError):
        connect(port)
    upstream.accept()
    with connect(port) as sock:
        sock.sendall(request_bytes({"model": "m"}, extra="connection: close\r\n"))
        data = read_all(sock)

    assert b"Hello, world!" in data


def test_a_connection_serves_several_requests_with_either_framing(upstream: ScriptedUpstream) -> None:
    chunked = (
        b"POST /v1/messages HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n"
        b'8;note=1\r\n{"model"\r\n5\r\n: 1}\n\r\n0\r\ntrailer: x\r\n\r\n'
    )

    with connect(upstream.port) as sock:
        sock.sendall(chunked)
        read_until(sock, b"end_turn")
        sock.sendall(request_bytes({"n": 2}) + request_bytes({"n": 3}, extra="connection: close\r\n"))
        read_all(sock)

    assert [(recorded.connection, recorded.body) for recorded in upstream.requests] == [
        (1, {"model": 1}),
        (1, {"n": 2}),
        (1, {"n": 3}),
    ]
    assert [recorded.outcome for recorded in upstream.requests] == ["played"] * 3


def test_a_script_may_respond_before_the_body_is_read(upstream: ScriptedUpstream) -> None:
    head = b"POST /scripted-early-413/v1/messages HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\n"

    with connect(upstream.port) as sock:
        sock.sendall(head + b'"123')
        data = read_until(sock, b"request_too_large")
        sock.sendall(b'45678"')
        read_all(sock)

    assert data.startswith(b"HTTP/1.1 413 ")
    [recorded] = upstream.wait_for(lambda recorded: recorded.ended_at)
    assert (recorded.body, recorded.scenario) == ("12345678", "early-413")


def test_the_scenarios_cover_all_faults_except_tls() -> None:
    faults = {scenario.fault for scenario in SCENARIOS.values()}

    assert faults == {"", *(f"U{i}" for i in range(1, 31) if i != 29)}


@pytest.mark.parametrize("name", SCENARIOS)
def test_each_scenario_plays_in_both_dialects_plain_and_streamed(name: str, upstream: ScriptedUpstream) -> None:
    paths = ["/v1/chat/completions", "/v1/messages"]
    bodies = [{"model": f"scripted-{name}", "stream": stream} for stream in (False, True)]

    for path, body in [(path, body) for path in paths for body in bodies]:
        upstream.accept()
        with connect(upstream.port) as sock:
            sock.settimeout(0.02)
            sock.sendall(request_bytes(body, path=path, extra="connection: close\r\n"))
            size = 0
            try:
                while size < 300_000 and (data := sock.recv(65536)):
                    size += len(data)
            except (TimeoutError, ConnectionResetError):
                pass

    recorded_requests = upstream.wait_for(lambda recorded: recorded.outcome or name == "refused", count=4, within_s=2)
    assert {recorded.scenario for recorded in recorded_requests} == {name}
    assert {recorded.outcome for recorded in recorded_requests} <= {"played", "peer_closed", "peer_reset", ""}


def test_600_concurrent_disconnects_are_detected(upstream: ScriptedUpstream) -> None:
    upstream.queue(Head(), Chunk(b": hello\n\n"), WaitForPeer(), times=None)

    with ThreadPoolExecutor(8) as pool:
        socks = list(pool.map(lambda _: connect(upstream.port), range(600)))
    for sock in socks:
        sock.sendall(request_bytes({"stream": True}))
    upstream.wait_for(lambda recorded: recorded.at, count=600)
    for sock in socks:
        sock.close()
    disconnected_at = time.monotonic()
    recorded_requests = upstream.wait_for(lambda recorded: recorded.closed_by_peer_at, count=600, within_s=2)

    assert max(recorded.closed_by_peer_at or 0 for recorded in recorded_requests) - disconnected_at < 1


def test_closing_the_upstream_ends_every_script_and_thread() -> None:
    before = threading.active_count()
    with ScriptedUpstream() as upstream, connect(upstream.port) as sock:
        upstream.queue(WaitForPeer())
        sock.sendall(request_bytes({}))
        upstream.wait_for(lambda recorded: recorded.at)

        upstream.close()

        assert upstream.requests[0].outcome == "stopped"
        assert threading.active_count() == before


def test_streams_as_bytes_are_the_same_each_time() -> None:
    assert openai_stream(Reply(["a"])) == openai_stream(Reply(["a"]))
    assert b"".join(anthropic_stream(Reply(["a"]))).count(b"event: ") == 7


def test_the_proxy_slices_and_delays_without_changing_a_byte(upstream: ScriptedUpstream) -> None:
    request = request_bytes({"model": "scripted-odd-characters"}, extra="connection: close\r\n")
    with connect(upstream.port) as sock:
        sock.sendall(request)
        direct = read_all(sock)

    with FaultProxy(("127.0.0.1", upstream.port)) as proxy:
        proxy.towards_upstream.slice_bytes = 7
        proxy.towards_client.slice_bytes = 100
        proxy.towards_client.latency_s = 0.01
        with connect(proxy.port) as sock:
            sock.sendall(request)
            started_at = time.monotonic()
            through = read_all(sock)
            duration_s = time.monotonic() - started_at

    assert through == direct
    assert duration_s > len(direct) / 100 * 0.01


def test_the_proxy_resets_half_closes_and_delays(upstream: ScriptedUpstream) -> None:
    request = request_bytes({"model": "m"})

    with FaultProxy(("127.0.0.1", upstream.port)) as proxy:
        proxy.towards_client.reset_after_bytes = 20
        with connect(proxy.port) as sock, pytest.raises(ConnectionResetError):
            sock.sendall(request)
            while sock.recv(1):
                pass
        proxy.towards_client.reset_after_bytes = None
        proxy.towards_client.half_close_after_bytes = 20
        with connect(proxy.port) as sock:
            sock.sendall(request)
            cut = read_all(sock)
        proxy.towards_client.half_close_after_bytes = None
        proxy.towards_client.blackhole = True
        with connect(proxy.port) as sock:
            sock.sendall(request)
            upstream.wait_for(lambda recorded: recorded.ended_at, count=3)
            sock.settimeout(0.1)
            with pytest.raises(TimeoutError):
                sock.recv(1)
            proxy.towards_client.blackhole = False
            sock.settimeout(5)
            late = read_until(sock, b"Hello, world!")

    assert cut == b"HTTP/1.1 200 Scripted"[:20]
    assert late.startswith(b"HTTP/1.1 200 Scripted")


def test_the_proxy_forwards_a_disconnect_of_the_client(upstream: ScriptedUpstream) -> None:
    upstream.queue(Head(), WaitForPeer())

    with FaultProxy(("127.0.0.1", upstream.port)) as proxy:
        with connect(proxy.port) as sock:
            sock.sendall(request_bytes({}))
            read_until(sock, b"\r\n\r\n")
        disconnected_at = time.monotonic()
        [recorded] = upstream.wait_for(lambda recorded: recorded.closed_by_peer_at, within_s=1)

    assert (recorded.closed_by_peer_at or 0) - disconnected_at < 0.2
