"""A client cannot choose its own IP address with forwarding headers."""

from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from lib.client_address import client_ip
from project.middleware import TrustedProxies


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        pytest.param("192.0.2.1", None, "192.0.2.1", id="directly"),
        pytest.param("192.0.2.1", "198.51.100.7", "192.0.2.1", id="a stranger's header"),
        pytest.param("10.0.0.1", "198.51.100.7", "198.51.100.7", id="through the proxy"),
        pytest.param("10.0.0.1", "1.1.1.1, 198.51.100.7", "198.51.100.7", id="rightmost"),
        pytest.param("10.0.0.1", "198.51.100.7, 10.0.0.2", "198.51.100.7", id="two proxies"),
        pytest.param("10.0.0.1", "198.51.100.7, nonsense", "10.0.0.1", id="nonsense"),
        pytest.param("10.0.0.1", None, "10.0.0.1", id="the proxy itself"),
        pytest.param("::ffff:10.0.0.1", "::ffff:198.51.100.7", "198.51.100.7", id="mapped"),
        pytest.param("fe80::1%eth0", None, "fe80::1", id="with a zone"),
        pytest.param("", None, None, id="a socket file"),
        pytest.param("10.0.0.1", "198.51.100.7:51008", "198.51.100.7", id="with a port"),
        pytest.param("10.0.0.1", "[2001:db8::7]:443", "2001:db8::7", id="IPv6 with a port"),
        pytest.param("10.0.0.1", "[2001:db8::7]", "2001:db8::7", id="IPv6 in brackets"),
        pytest.param("10.0.0.1", "2001:db8::7", "2001:db8::7", id="bare IPv6"),
        pytest.param("10.0.0.1", "1.1.1.1, 198.51.100.7:1, 10.0.0.2:2", "198.51.100.7", id="two proxies with ports"),
        pytest.param("10.0.0.1", "198.51.100.7:port", "10.0.0.1", id="not a port"),
        pytest.param("10.0.0.1", "[198.51.100.7", "10.0.0.1", id="half a bracket"),
    ],
)
def test_the_client_ip_is_the_rightmost_that_is_not_a_trusted_proxy(
    settings: Any, peer: str, forwarded: str | None, expected: str | None
) -> None:
    settings.TRUSTED_PROXIES = ["10.0.0.0/8"]
    request = RequestFactory().post("/", REMOTE_ADDR=peer)
    if forwarded is not None:
        request.META["HTTP_X_FORWARDED_FOR"] = forwarded

    assert client_ip(request) == expected


@pytest.mark.parametrize(
    ("proxies", "peer", "scheme"),
    [
        pytest.param(["10.0.0.0/8"], "10.0.0.1", "https", id="a trusted proxy"),
        pytest.param(["10.0.0.0/8"], "192.0.2.1", "http", id="any other client"),
        pytest.param([], "10.0.0.1", "http", id="no trusted proxies"),
    ],
)
def test_only_a_trusted_proxy_says_that_the_client_used_https(
    settings: Any, proxies: list[str], peer: str, scheme: str
) -> None:
    settings.TRUSTED_PROXIES = proxies
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    request = RequestFactory().get("/", REMOTE_ADDR=peer, HTTP_X_FORWARDED_PROTO="https")
    schemes: list[str] = []

    def respond(http_request: HttpRequest) -> HttpResponse:
        schemes.append(http_request.scheme or "")
        return HttpResponse()

    TrustedProxies(respond)(request)

    assert schemes == [scheme]
