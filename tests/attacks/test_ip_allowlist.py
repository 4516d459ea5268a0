"""A key that is bound to IP addresses is of no use elsewhere, whatever it asks for."""

from typing import Any

import pytest

from tests.support.gateway import Gateway

BODY: dict[str, Any] = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "Hi"}]}
ELSEWHERE = ["192.0.2.1"]
REQUESTS = [
    ("POST", "/api/v1/messages"),
    ("POST", "/api/anthropic/v1/messages"),
    ("POST", "/api/anthropic/v1/messages/count_tokens"),
    ("GET", "/api/v1/key"),
    ("GET", "/api/v1/usage"),
    ("GET", "/api/anthropic/v1/models"),
    ("GET", "/api/anthropic/v1/models/m"),
]


def send(gateway: Gateway, method: str, path: str) -> tuple[int, bytes]:
    response = gateway.post(path, BODY) if method == "POST" else gateway.request(method, path)
    return response.status, response.body


@pytest.mark.parametrize(("method", "path"), REQUESTS)
def test_a_key_is_of_no_use_from_another_ip_address(gateway: Gateway, method: str, path: str) -> None:
    gateway.key.allowed_ips = ELSEWHERE
    gateway.key.save()

    status, body = send(gateway, method, path)

    assert status == 403 and b"API key is not allowed from your IP address." in body
    assert not gateway.upstream.requests
    if path.endswith("/messages"):
        (record,) = gateway.settled(1)
        assert record.limit_exceeded is not None and record.limit_exceeded["limit"] == "allowed_ips"


@pytest.mark.parametrize(("method", "path"), REQUESTS)
def test_a_key_works_from_its_own_ip_address(gateway: Gateway, method: str, path: str) -> None:
    gateway.key.allowed_ips = ["127.0.0.1"]
    gateway.key.save()

    assert send(gateway, method, path)[0] == 200
