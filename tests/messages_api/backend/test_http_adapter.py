"""The adapter for requests: what is sent, connections that are kept, closed and aborted, and TLS."""

import json
import math
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from messages_api.backend.connection_pool import close_idle_connections
from messages_api.backend.exchange import Exchange
from messages_api.backend.exchange_state import ExchangeState
from messages_api.backend.http_adapter import HttpAdapter
from messages_api.backend.http_messages import ExchangeRequest, ExchangeResponse, Headers
from messages_api.backend.upstream_error import Aborted, UpstreamError
from tests.messages_api.backend.test_upstream_errors import endpoint, opened
from tests.support.gateway import wait_until
from tests.upstream import (
    Chunk,
    Close,
    EndChunks,
    Head,
    Pause,
    ScriptedUpstream,
    Send,
    WaitForPeer,
    body_response,
)
from tests.upstream.certificates import Authority

LARGE = b'{"x": "%s"}' % (b"x" * 3_000_000)


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as scripted:
        yield scripted


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        session.mount("http://", HttpAdapter())
        yield session


def test_a_session_of_requests_can_use_it(upstream: ScriptedUpstream, session: requests.Session) -> None:
    upstream.queue(body_response({"a": 1}, headers=[("x-a", "1"), ("X-A", "2"), ("set-cookie", "c=1")]))

    response = session.post(f"{upstream.url}/v1/x", json={"b": 2}, timeout=5)

    assert (response.status_code, response.reason, response.json()) == (200, "OK", {"a": 1})
    assert response.headers["X-a"] == "1, 2"
    assert not response.cookies
    assert (upstream.requests[0].path, upstream.requests[0].body) == ("/v1/x", {"b": 2})


def test_a_body_can_be_read_in_pieces(upstream: ScriptedUpstream, session: requests.Session) -> None:
    upstream.queue([Head(), Chunk(b"abc"), Chunk(b"defg"), EndChunks()])

    with session.get(f"{upstream.url}/v1/x", stream=True, timeout=5) as response:
        assert list(response.iter_content(2)) == [b"ab", b"cd", b"ef", b"g"]


def test_a_response_has_the_attributes_of_one_of_requests(upstream: ScriptedUpstream) -> None:
    request = ExchangeRequest(ExchangeState(first_byte_timeout_s=1), method="GET", url="", headers={}, body=None)

    response = ExchangeResponse(status=200, headers=Headers(), raw=None, request=request)  # type: ignore[arg-type]

    assert set(vars(requests.Response())) - {"cookies"} == set(vars(response))


def test_what_is_sent_does_not_depend_on_the_size(upstream: ScriptedUpstream) -> None:
    for body in (b"{}", LARGE):
        exchange = Exchange(endpoint(upstream.url + "/base/"))
        exchange.open("/x?beta=true", body, {"Content-Type": "application/json", "X-Name": "é"})
        exchange.read_all()
        exchange.close()

    small, large = upstream.requests
    assert (small.path, small.body) == ("/base/v1/x?beta=true", {})
    assert large.body == json.loads(LARGE)
    assert dict(small.headers) | {"content-length": str(len(LARGE))} == dict(large.headers)
    assert small.headers["host"] == f"127.0.0.1:{upstream.port}"
    assert small.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "a\rb", "a\0b", "€"])
def test_a_header_that_would_be_two_is_not_sent(upstream: ScriptedUpstream, value: str) -> None:
    with pytest.raises(ValueError, match=r"line end|encode"):
        Exchange(endpoint(upstream.url)).open("/x", b"{}", {"x-a": value})

    assert upstream.requests == []


@pytest.mark.parametrize("option", [{"verify": False}, {"cert": "client.pem"}, {"proxies": {"http": "http://proxy"}}])
def test_an_option_that_it_does_not_have_is_an_error(option: dict[str, object]) -> None:
    request = requests.Request("GET", "http://127.0.0.1/").prepare()

    with pytest.raises(NotImplementedError):
        HttpAdapter().send(request, **option)  # type: ignore[arg-type]


# ---- connections that are kept


def connections(upstream: ScriptedUpstream) -> list[int]:
    return [request.connection for request in upstream.requests]


def exchange_once(url: str) -> bytes:
    exchange = opened(url)
    try:
        return exchange.read_all()
    finally:
        exchange.close()


def test_a_connection_that_the_upstream_closed_is_not_used(upstream: ScriptedUpstream) -> None:
    upstream.queue([*body_response({"a": 1}), Close()])
    exchange_once(upstream.url)
    wait_until(lambda: upstream.open_connections == 0)

    exchange_once(upstream.url)

    assert connections(upstream) == [1, 2]


def test_a_connection_with_bytes_that_no_request_asked_for_is_not_used(upstream: ScriptedUpstream) -> None:
    stray = Send(b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{"for": "you"}')
    upstream.queue([*body_response({"for": "the first"}), stray])
    upstream.queue([*body_response({"for": "the second"}), Pause(0.05), stray, WaitForPeer()])
    upstream.queue(body_response({"for": "the third"}))

    first = exchange_once(upstream.url)
    time.sleep(0.2)  # after this, the bytes have arrived; no client distinguishes later ones from a response
    second = exchange_once(upstream.url)
    time.sleep(0.2)
    third = exchange_once(upstream.url)

    assert [first, second, third] == [b'{"for": "the first"}', b'{"for": "the second"}', b'{"for": "the third"}']
    assert connections(upstream) == [1, 2, 3]


def test_a_response_that_was_not_read_completely_ends_its_connection(upstream: ScriptedUpstream) -> None:
    upstream.queue([Head(), Chunk(b"a"), WaitForPeer()])
    exchange = opened(upstream.url)
    assert exchange.read(wait_s=5) == b"a"

    exchange.close()

    wait_until(lambda: upstream.open_connections == 0)


def test_the_end_of_the_chunks_may_arrive_a_moment_later(upstream: ScriptedUpstream) -> None:
    upstream.queue([Head(), Chunk(b"a"), Pause(0.005), EndChunks()])
    exchange = opened(upstream.url)
    assert exchange.read(wait_s=5) == b"a"
    exchange.close()

    exchange_once(upstream.url)

    assert connections(upstream) == [1, 1]


def test_idle_connections_are_closed_after_a_while(upstream: ScriptedUpstream) -> None:
    exchange_once(upstream.url)

    close_idle_connections(idle_s=30)
    assert upstream.open_connections == 1

    close_idle_connections(idle_s=0)
    wait_until(lambda: upstream.open_connections == 0)
    exchange_once(upstream.url)
    assert connections(upstream) == [1, 2]


def test_a_closed_adapter_keeps_no_connection(upstream: ScriptedUpstream, session: requests.Session) -> None:
    upstream.queue([Head(), Chunk(b"{}"), EndChunks()], times=2)
    running = session.get(f"{upstream.url}/v1/x", stream=True, timeout=5)
    session.get(f"{upstream.url}/v1/x", timeout=5)
    assert upstream.open_connections == 2

    session.close()
    wait_until(lambda: upstream.open_connections == 1)
    assert running.json() == {}
    wait_until(lambda: upstream.open_connections == 0)


# ---- deadlines and aborts


def test_a_wait_without_data_ends_and_the_response_continues(upstream: ScriptedUpstream) -> None:
    upstream.queue([Head(), Pause(0.3), Chunk(b"a"), EndChunks()])
    exchange = opened(upstream.url)

    assert exchange.read(wait_s=0.05) is None
    assert exchange.read(wait_s=5) == b"a"
    assert exchange.read(wait_s=5) == b""
    exchange.close()


def test_headers_that_trickle_do_not_outlast_the_request_timeout(upstream: ScriptedUpstream) -> None:
    upstream.queue([Send(b"HTTP/1.1 200 OK\r\n"), *[step for _ in range(50) for step in (Pause(0.05), Send(b"x"))]])
    exchange = Exchange(endpoint(upstream.url), total_expires_at=time.monotonic() + 0.4)

    began = time.monotonic()
    with pytest.raises(UpstreamError) as caught:
        exchange.open("/chat/completions", b"{}", {})

    assert (caught.value.status, caught.value.reason.partition(":")[0]) == (504, "request_timeout")
    assert time.monotonic() - began < 1.5


def test_an_upload_that_the_upstream_does_not_read_ends_with_the_first_byte_timeout(upstream: ScriptedUpstream) -> None:
    upstream.queue([WaitForPeer()], before_body=True)
    exchange = Exchange(endpoint(upstream.url, first_byte_timeout_s=0.5))

    began = time.monotonic()
    with pytest.raises(UpstreamError) as caught:
        exchange.open("/x", b"x" * 30_000_000, {})

    assert caught.value.status == 504
    assert 0.4 < time.monotonic() - began < 5


@pytest.mark.parametrize("phase", ["head", "body"])
def test_an_abort_from_another_thread_ends_a_wait(upstream: ScriptedUpstream, phase: str) -> None:
    upstream.queue([WaitForPeer()] if phase == "head" else [Head(), WaitForPeer()])
    exchange = Exchange(endpoint(upstream.url))
    threading.Timer(0.2, exchange.abort).start()

    began = time.monotonic()
    with pytest.raises(Aborted):
        exchange.open("/chat/completions", b"{}", {})
        exchange.read(wait_s=math.inf)
    exchange.close()

    assert time.monotonic() - began < 5
    assert exchange.may_be_billed
    wait_until(lambda: upstream.open_connections == 0)


# ---- TLS


def test_tls_carries_large_bodies_both_ways_over_one_connection(tmp_path: Path) -> None:
    authority = Authority()
    trusted = tmp_path / "authority.pem"
    trusted.write_text(authority.pem)
    with ScriptedUpstream(tls=authority.context("good")) as upstream:
        upstream.queue(body_response(LARGE), times=2)
        for _ in range(2):
            exchange = Exchange(replace(endpoint(upstream.url), ca_file=str(trusted)))
            exchange.open("/chat/completions", LARGE, {})
            assert exchange.read_all() == LARGE
            exchange.close()

        assert [request.body for request in upstream.requests] == [json.loads(LARGE)] * 2
        assert connections(upstream) == [1, 1]
        close_idle_connections(idle_s=0)
        wait_until(lambda: upstream.open_connections == 0)


def test_a_ca_file_that_was_replaced_is_read_again(tmp_path: Path) -> None:
    authority = Authority()
    trusted = tmp_path / "authority.pem"
    trusted.write_text(Authority().pem)
    with ScriptedUpstream(tls=authority.context("good")) as upstream:
        target = replace(endpoint(upstream.url), ca_file=str(trusted))
        with pytest.raises(UpstreamError) as caught:
            Exchange(target).open("/chat/completions", b"{}", {})
        trusted.write_text(authority.pem + "\n")
        exchange = Exchange(target)
        exchange.open("/chat/completions", b"{}", {})
        exchange.close()

    assert caught.value.reason == "tls_certificate_untrusted"


def test_a_ca_file_that_is_missing_is_a_failed_connection(upstream: ScriptedUpstream) -> None:
    url = upstream.url.replace("http:", "https:")

    with pytest.raises(UpstreamError) as caught:
        Exchange(replace(endpoint(url), ca_file="/nowhere.pem")).open("/chat/completions", b"{}", {})

    assert caught.value.reason == "connection_failed"
