"""Bodies of rejected requests are not read, and what follows them on a connection is never taken for a request."""

import socket
from typing import Any

import pytest

from tests.support.gateway import Gateway, read_until, wait_until

ENVELOPE, ANTHROPIC = "/api/v1/messages", "/api/anthropic/v1/messages"
PLAIN: dict[str, Any] = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "Hi"}]}
LARGE = 30 * 2**20
SMUGGLED = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def use_up(gateway: Gateway) -> None:
    """Leave the key without a request this minute."""
    gateway.key.requests_per_minute = 1
    gateway.key.save()
    assert gateway.post(ENVELOPE, PLAIN).status == 200


def read_to_the_end(connection: socket.socket, *, within_s: float = 10.0) -> bytes:
    connection.settimeout(within_s)
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received


@pytest.mark.parametrize("path", [ENVELOPE, ANTHROPIC])
def test_the_response_does_not_wait_for_the_body(gateway: Gateway, path: str) -> None:
    use_up(gateway)

    with gateway.begin(path, length=LARGE, start=b'{"model":') as connection:
        connection.settimeout(5)
        head = read_until(connection, b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 429 ") and b"connection: close" in head.lower()
    gateway.settled(2)


@pytest.mark.parametrize("length", [100_000, 3_400_000, LARGE])
def test_a_client_that_sends_its_whole_body_first_gets_the_response(gateway: Gateway, length: int) -> None:
    use_up(gateway)
    for _ in range(3):
        response = gateway.post(ENVELOPE, b'{"model":"m","x":"' + b"a" * length + b'"}')
        assert (response.status, response.headers["connection"]) == (429, "close")
    gateway.settled(4)


def test_a_small_rest_is_drained_and_the_connection_is_used_again(gateway: Gateway) -> None:
    use_up(gateway)
    body = SMUGGLED * 10

    with gateway.begin(
        ENVELOPE, length=len(body), start=body + SMUGGLED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    ) as connection:
        received = read_to_the_end(connection)

    assert received.count(b"HTTP/1.1 ") == 2
    assert received.startswith(b"HTTP/1.1 429 ") and received.endswith(b"\r\n\r\nok")
    gateway.settled(2)


@pytest.mark.parametrize("sent", [0, 1_000, 200_000, LARGE])
def test_nothing_in_a_large_body_is_taken_for_a_request(gateway: Gateway, sent: int) -> None:
    use_up(gateway)
    start = (SMUGGLED * (sent // len(SMUGGLED) + 1))[:sent]

    with gateway.begin(ENVELOPE, length=LARGE) as connection:
        connection.sendall(start)
        connection.shutdown(socket.SHUT_WR)
        received = read_to_the_end(connection)

    assert received.count(b"HTTP/1.1 ") == 1 and received.startswith(b"HTTP/1.1 429 ")
    gateway.settled(2)


@pytest.mark.parametrize("path", [ENVELOPE, "/api/v1/key", "/api/nothing", "/livez", "/admin/login/"])
@pytest.mark.parametrize("method", ["HEAD", "GET", "POST", "DELETE"])
@pytest.mark.parametrize("key", ["none", "wrong"])
def test_no_path_and_no_method_takes_a_body_for_a_request(gateway: Gateway, path: str, method: str, key: str) -> None:
    """A HEAD gets no body, and with a small body the next request is served; a large body ends the connection."""
    last = SMUGGLED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    authorization = b"" if key == "none" else b"Authorization: Bearer sk-gw-wrong\r\n"
    for length, responses in ((len(SMUGGLED), 2), (10 * 2**20, 1)):
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{gateway.port}\r\nContent-Length: {length}\r\n".encode()
        with gateway.connect() as connection:
            connection.sendall(head + authorization + b"\r\n" + SMUGGLED + last)
            connection.shutdown(socket.SHUT_WR)
            received = read_to_the_end(connection)
        assert received.count(b"HTTP/1.1 ") == responses, received
        if method == "HEAD" and responses == 2:
            assert received.count(b"\r\n\r\n") == 2 and received.endswith(b"\r\n\r\nok")


def test_a_chunked_body_ends_the_connection(gateway: Gateway) -> None:
    head = f"POST {ENVELOPE} HTTP/1.1\r\nHost: 127.0.0.1:{gateway.port}\r\nTransfer-Encoding: chunked\r\n"
    chunk = b"%x\r\n" % len(SMUGGLED) + SMUGGLED + b"\r\n"
    with gateway.connect() as connection:
        connection.sendall(head.encode() + f"Authorization: Bearer {gateway.raw_key}\r\n\r\n".encode() + chunk * 1000)
        connection.shutdown(socket.SHUT_WR)
        received = read_to_the_end(connection)

    assert received.count(b"HTTP/1.1 ") == 1 and received.startswith(b"HTTP/1.1 411 ")


def test_a_client_that_never_sends_its_body_is_let_go(gateway: Gateway) -> None:
    use_up(gateway)

    with gateway.begin(ENVELOPE, length=LARGE) as connection:
        assert read_until(connection, b"\r\n\r\n").startswith(b"HTTP/1.1 429 ")
        read_to_the_end(connection)
        wait_until(lambda: is_closed(connection), within_s=15)
    gateway.settled(2)


def is_closed(connection: socket.socket) -> bool:
    """Return whether the server has closed its side completely: then it resets what still arrives."""
    try:
        connection.sendall(b"a")
    except OSError:
        return True
    return False
