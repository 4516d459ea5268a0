"""Exchanges with upstreams: error mapping, timeouts and connections."""

import inspect
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from lib.failure_reasons import LABELS
from messages_api.backend import exchange
from messages_api.backend.endpoint import Endpoint, Timeouts
from messages_api.backend.exchange import Exchange
from messages_api.backend.protocol.profile import Profile
from messages_api.backend.upstream_error import Aborted, RetryScope, UpstreamError, cause_of
from tests.faults.servers import full_listener
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
    paced,
)
from tests.upstream.certificates import Authority

FOREIGN = [
    error
    for _, error in inspect.getmembers(requests.exceptions, inspect.isclass)
    if issubclass(error, Exception) and not issubclass(error, Warning) and error.__module__ == "requests.exceptions"
]


@pytest.mark.parametrize("error", FOREIGN, ids=lambda error: f"{error.__module__}.{error.__name__}")
def test_every_error_of_requests_is_mapped(error: type[Exception]) -> None:
    assert issubclass(error, exchange.FOREIGN)

    mapped = Exchange(endpoint("http://127.0.0.1"))._mapped_error(error.__new__(error))

    assert (mapped.status, mapped.type) in {(502, "api_error"), (504, "timeout_error")}
    assert mapped.reason.partition(":")[0] in LABELS
    is_timeout = issubclass(error, exchange.TIMEOUTS) and not issubclass(error, requests.exceptions.ConnectTimeout)
    assert (mapped.status == 504) == is_timeout


def endpoint(url: str, **timeouts: float) -> Endpoint:
    return Endpoint(
        name="scripted",
        dialect="openai",
        base_url=url,
        credential="",
        profile=Profile(),
        timeouts=Timeouts(**timeouts),
    )


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        ("https://api.anthropic.com", "https://api.anthropic.com/v1/messages"),
        ("https://api.anthropic.com/", "https://api.anthropic.com/v1/messages"),
        ("http://127.0.0.1:8081/v1", "http://127.0.0.1:8081/v1/messages"),
        ("https://openrouter.ai/api/v1/", "https://openrouter.ai/api/v1/messages"),
        ("https://host/v1beta", "https://host/v1beta/messages"),
    ],
)
def test_the_version_is_added_where_the_base_url_has_none(base_url: str, expected: str) -> None:
    assert endpoint(base_url).url("/messages") == expected


def test_netrc_and_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    netrc = f"{tmp_path}/netrc"
    with open(netrc, "w") as file:
        file.write("machine 127.0.0.1 login thief password secret\n")
    for name, value in {"NETRC": netrc, "HTTP_PROXY": "http://127.0.0.1:1", "http_proxy": "http://127.0.0.1:1"}.items():
        monkeypatch.setenv(name, value)
    with ScriptedUpstream() as scripted:
        exchange = Exchange(endpoint(scripted.url))

        exchange.open("/chat/completions", b"{}", {"Authorization": "Bearer ours"})
        exchange.read_all()
        exchange.close()

        assert scripted.requests[0].headers["authorization"] == "Bearer ours"


def test_an_encoded_response_is_rejected() -> None:
    with ScriptedUpstream() as scripted:
        scripted.queue(body_response({"a": 1}, headers=[("content-encoding", "gzip")]))
        exchange = Exchange(endpoint(scripted.url))

        with pytest.raises(UpstreamError) as caught:
            exchange.open("/chat/completions", b"{}", {})
        exchange.close()

        assert caught.value.status == 502


def test_a_redirect_is_not_followed() -> None:
    with ScriptedUpstream() as scripted:
        scripted.queue(body_response({}, status=302, headers=[("location", scripted.url + "/elsewhere")]))
        exchange = Exchange(endpoint(scripted.url))

        with pytest.raises(UpstreamError):
            exchange.open("/chat/completions", b"{}", {})
        exchange.close()

        assert len(scripted.requests) == 1


def test_an_exchange_that_was_aborted_before_it_connected_never_sends() -> None:
    with ScriptedUpstream() as scripted:
        exchange = Exchange(endpoint(scripted.url))
        exchange.abort()

        with pytest.raises(Aborted):
            exchange.open("/chat/completions", b"{}", {})
        exchange.close()

        assert not exchange.may_be_billed
        assert scripted.requests == []


def test_reading_enforces_the_first_byte_timeout_itself() -> None:
    with ScriptedUpstream() as scripted:
        scripted.queue([WaitForPeer()])
        exchange = Exchange(endpoint(scripted.url, first_byte_timeout_s=0.3))

        with pytest.raises(UpstreamError) as caught:
            exchange.open("/chat/completions", b"{}", {})
        exchange.close()

        assert caught.value.status == 504


def test_an_exchange_may_be_closed_twice() -> None:
    with ScriptedUpstream() as scripted:
        exchange = Exchange(endpoint(scripted.url))
        exchange.open("/chat/completions", b"{}", {})

        exchange.close()
        exchange.close()


def opened(url: str, **timeouts: float) -> Exchange:
    """Return an exchange whose response has started. It must be closed."""
    exchange = Exchange(endpoint(url, **timeouts))
    exchange.open("/chat/completions", b"{}", {})
    return exchange


def test_a_name_that_is_not_resolved_is_abandoned_at_the_connect_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver_may_continue = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: resolver_may_continue.wait(10))

    started_at = time.monotonic()
    with pytest.raises(UpstreamError) as caught:
        opened("http://name.example", connect_timeout_s=0.3)

    assert (caught.value.status, caught.value.retry_scope) == (502, RetryScope.SAME_TARGET)
    assert 0.3 <= time.monotonic() - started_at < 1.0
    resolver_may_continue.set()


def test_a_connection_after_the_timeout_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve, resolver_may_continue = socket.getaddrinfo, threading.Event()

    def slowly(*arguments: Any, **options: Any) -> Any:
        resolver_may_continue.wait(5)
        return resolve(*arguments, **options)

    with ScriptedUpstream() as scripted:
        monkeypatch.setattr(socket, "getaddrinfo", slowly)
        with pytest.raises(UpstreamError):
            opened(scripted.url, connect_timeout_s=0.2)

        resolver_may_continue.set()

        wait_until(lambda: scripted._connection_count == 1)
        wait_until(lambda: scripted.open_connections == 0)
        assert scripted.requests == []


def test_a_tls_server_without_a_handshake_was_sent_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started_at = time.monotonic()
        with pytest.raises(UpstreamError) as caught:
            opened(f"https://127.0.0.1:{silent.getsockname()[1]}", connect_timeout_s=0.3)

    assert (caught.value.status, caught.value.retry_scope) == (502, RetryScope.SAME_TARGET)
    assert 0.3 <= time.monotonic() - started_at < 1.0


def test_connecting_does_not_outlast_the_request_timeout() -> None:
    with full_listener() as port:
        exchange = Exchange(
            endpoint(f"http://127.0.0.1:{port}", connect_timeout_s=5), total_expires_at=time.monotonic() + 0.3
        )
        started_at = time.monotonic()
        with pytest.raises(UpstreamError) as caught:
            exchange.open("/chat/completions", b"{}", {})

    assert caught.value.status == 502
    assert time.monotonic() - started_at < 1.0


def test_an_empty_body_ends_immediately_and_its_connection_serves_the_next_request() -> None:
    with ScriptedUpstream() as scripted:
        scripted.queue(body_response(b""))
        started_at = time.monotonic()
        for _ in range(2):
            exchange = opened(scripted.url)
            exchange.read_all()
            exchange.close()

        assert time.monotonic() - started_at < 1.0
        assert [call.connection for call in scripted.requests] == [1, 1]


def test_interim_responses_are_skipped() -> None:
    hints = Send(b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n")
    with ScriptedUpstream() as scripted:
        scripted.queue([hints, hints, Pause(0.1), hints, *body_response({"a": 1})])
        exchange = opened(scripted.url)

        assert (exchange.response_status, exchange.read_all()) == (200, b'{"a": 1}')
        exchange.close()


def test_a_response_after_too_many_interim_ones_does_not_serve_the_next_request() -> None:
    hints = Send(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 30)
    with ScriptedUpstream() as scripted:
        scripted.queue([hints, Pause(0.2), *body_response({"for": "the first"})])
        scripted.queue(body_response({"for": "the second"}))

        with pytest.raises(UpstreamError):
            opened(scripted.url)
        exchange = opened(scripted.url)

        assert exchange.read_all() == b'{"for": "the second"}'
        exchange.close()


def test_bytes_of_a_complete_response_are_progress() -> None:
    with ScriptedUpstream() as scripted:
        scripted.queue([Head(), *paced([b" "] * 8, 0.1), Chunk(b"{}"), EndChunks()])
        exchange = opened(scripted.url, idle_timeout_s=0.4, first_byte_timeout_s=0.4)

        assert exchange.read_all().strip() == b"{}"
        exchange.close()


def test_headers_alone_are_no_progress() -> None:
    with ScriptedUpstream() as scripted:
        scripted.queue([Pause(0.3), Head(), WaitForPeer()])

        started_at = time.monotonic()
        exchange = opened(scripted.url, first_byte_timeout_s=0.6, idle_timeout_s=5)
        with pytest.raises(UpstreamError) as caught:
            exchange.read_all()
        exchange.close()

        assert caught.value.status == 504
        assert 0.5 < time.monotonic() - started_at < 1.0


@pytest.mark.parametrize(
    ("kind", "reason", "cause"),
    [
        ("expired", "tls_certificate_expired", "SSLCertVerificationError: certificate has expired"),
        ("self-signed", "tls_certificate_untrusted", "SSLCertVerificationError: self-signed certificate"),
        (
            "wrong-host",
            "tls_certificate_wrong_host",
            "SSLCertVerificationError: IP address mismatch, certificate is not valid for '127.0.0.1'.",
        ),
        ("old-version", "tls_failed", ""),
    ],
)
def test_a_certificate_error_is_logged_and_not_shown_to_the_client(
    kind: str, reason: str, cause: str, tmp_path: Path
) -> None:
    authority = Authority()
    trusted = tmp_path / "authority.pem"
    trusted.write_text(authority.pem)
    with ScriptedUpstream(tls=authority.context(kind)) as scripted:
        with pytest.raises(UpstreamError) as caught:
            Exchange(replace(endpoint(scripted.url), ca_file=str(trusted))).open("/chat/completions", b"{}", {})

        assert (caught.value.status, caught.value.message) == (502, "The connection to the upstream failed.")
        assert caught.value.reason == reason
        assert not cause or cause_of(caught.value) == cause
        assert scripted.requests == []


def test_a_cause_has_no_url_and_no_content() -> None:
    with ScriptedUpstream() as scripted:
        scripted.queue(Send(b"secret words of a response\r\n\r\n"), Close())
        with pytest.raises(UpstreamError) as odd:
            opened(scripted.url)
        scripted.refuse()
        with pytest.raises(UpstreamError) as rejected:
            opened(scripted.url)

    assert cause_of(odd.value) == "BadStatusLine"
    assert cause_of(rejected.value) == "ConnectionRefusedError: Connection refused"
    assert cause_of(UpstreamError("nothing foreign")) == ""
