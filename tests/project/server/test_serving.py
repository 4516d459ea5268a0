"""A real gateway: framing of responses, one after the other on one connection, plain or not."""

import pytest

from tests.support.gateway import Gateway, read_until

PATH = "/api/v1/messages"
END = b"Connection: close\r\n\r\n"


def exchange(gateway: Gateway, *requests: bytes) -> bytes:
    """Send requests together on one connection, and return what is received until it is closed."""
    received = b""
    with gateway.connect() as connection:
        connection.settimeout(20)
        connection.sendall(b"".join(requests))
        while piece := connection.recv(65_536):
            received += piece
    return received


def head(gateway: Gateway, line: str, *fields: str) -> bytes:
    return "\r\n".join([line, f"Host: 127.0.0.1:{gateway.port}", *fields, ""]).encode()


def test_a_complete_response_has_a_length_and_keeps_the_connection(gateway: Gateway) -> None:
    request = head(gateway, f"POST {PATH} HTTP/1.1", "Content-Length: 2")
    first, second = exchange(gateway, request + b"\r\n{}", request + END + b"{}").split(b"HTTP/1.1 401 Unauthorized")[
        1:
    ]

    for response, connection in ((first, b"keep-alive"), (second, b"close")):
        fields, _, body = response.partition(b"\r\n\r\n")
        assert b"\r\nContent-Length: %d" % len(body) in fields and b"Transfer-Encoding" not in fields
        assert b"\r\nConnection: %s\r\n" % connection in fields


@pytest.mark.parametrize("unusual", ["X-A: b\r\nX-A: c", "X_A: b", "Expect: 100-continue"])
def test_plain_and_unusual_requests_follow_each_other(gateway: Gateway, unusual: str) -> None:
    plain = head(gateway, "GET /livez HTTP/1.1")
    received = exchange(gateway, plain + b"\r\n", head(gateway, "GET /livez HTTP/1.1", unusual) + b"\r\n", plain + END)

    assert received.count(b"HTTP/1.1 200 OK") == 3
    assert received.count(b"HTTP/1.1 100 Continue") == (unusual == "Expect: 100-continue")


def test_an_old_client_gets_a_response_and_the_end_of_the_connection(gateway: Gateway) -> None:
    received = exchange(gateway, head(gateway, f"POST {PATH} HTTP/1.0") + b"\r\n")

    assert received.startswith(b"HTTP/1.0 401 ") and b"\r\nConnection: close\r\n" in received


def test_a_head_that_arrives_in_pieces_is_one_request(gateway: Gateway) -> None:
    request = head(gateway, f"POST {PATH} HTTP/1.1", "Content-Length: 2") + END + b"{}"
    with gateway.connect() as connection:
        for start in range(0, len(request), 20):
            connection.sendall(request[start : start + 20])
        assert read_until(connection, b"\r\n\r\n").startswith(b"HTTP/1.1 401 ")
