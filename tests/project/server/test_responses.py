"""Responses to plain requests: the bytes of gunicorn's responses, in fewer sends."""

from typing import Any

import pytest
from gunicorn.http.wsgi import Response

from project.server.plain_requests import PlainRequest
from project.server.responses import JoinedResponse, Started, complete
from tests.project.server.test_plain_requests import CFG

JSON = [("Content-Type", "application/json"), ("X-Value", "a \xe9\t b")]
BODY = b"0123456789"


class Client:
    """A socket that keeps what was sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        self.sent.append(data)


def started(status: str = "200 OK", headers: Any = JSON) -> Started:
    """Return the start of a response, as an application makes it."""
    start = Started()
    start(status, list(headers))
    return start


def request(method: str = "GET", **fields: str) -> PlainRequest:
    made = PlainRequest(method, "/", None, fields)
    made.body = None
    return made


def sent_by(response_class: type[Response], start: Started, pieces: list[bytes], *, method: str = "GET") -> list[bytes]:
    client = Client()
    response = response_class(request(method), client, CFG)
    response.start_response(start.status, start.headers)
    for piece in pieces:
        response.write(piece)
    response.close()
    return client.sent


def without_date(data: bytes) -> bytes:
    return b"\r\n".join(line for line in data.split(b"\r\n") if not line.startswith(b"Date: "))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("status", ["200 OK", "204 No Content", "304 Not Modified", "404 Not Found", "500 "])
@pytest.mark.parametrize("headers", [JSON, [*JSON, ("Content-Length", "10")], [("Connection", "close")], []])
@pytest.mark.parametrize("pieces", [[], [BODY], [BODY[:4], b"", BODY[4:]], [b"", BODY], [b""], [BODY, BODY]])
def test_the_bytes_are_those_of_gunicorn(method: str, status: str, headers: Any, pieces: list[bytes]) -> None:
    ours = sent_by(JoinedResponse, started(status, headers), pieces, method=method)
    theirs = sent_by(Response, started(status, headers), pieces, method=method)

    assert without_date(b"".join(ours)) == without_date(b"".join(theirs))
    assert len(ours) <= len(theirs) - (len(theirs) > 1 and pieces[:1] not in ([], [b""]))


def test_the_head_of_a_stream_is_sent_with_its_first_piece_and_no_later() -> None:
    client = Client()
    response = JoinedResponse(request(), client, CFG)
    response.start_response("200 OK", JSON)
    assert client.sent == []
    response.write(b"a")
    assert len(client.sent) == 1 and client.sent[0].endswith(b"\r\n\r\n1\r\na\r\n")
    response.write(b"b")
    assert client.sent[1:] == [b"1\r\nb\r\n"]
    response.close()
    assert client.sent[2:] == [b"0\r\n\r\n"]


@pytest.mark.parametrize("closes", [False, True])
@pytest.mark.parametrize("status", ["200 OK", "401 Unauthorized", "503 Service Unavailable"])
def test_a_complete_response_has_the_lines_of_gunicorn_and_a_length(status: str, closes: bool) -> None:
    whole = complete(started(status), BODY, closes=closes)
    theirs = sent_by(Response, started(status, [*JSON, ("Content-Length", "10")]), [BODY])

    assert whole is not None
    expected = without_date(b"".join(theirs))
    assert without_date(whole) == (expected.replace(b": keep-alive", b": close") if closes else expected)


@pytest.mark.parametrize(
    "status", ["100 Continue", "204 No Content", "304 Not Modified", "200 OK\r\nX: y", "200", "OK"]
)
def test_an_unusual_status_is_left_to_gunicorn(status: str) -> None:
    assert complete(started(status), BODY, closes=False) is None


@pytest.mark.parametrize(
    "header",
    [
        ("X-Value", "a\r\nX-Injected: b"),
        ("X-Value", "a\n"),
        ("X-Value", "a\0"),
        ("X-Value", "\u20ac"),
        ("X Value", "a"),
        ("X-Value\r\nX-Injected", "a"),
        ("", "a"),
        ("Content-Length", "3"),
        ("Connection", "upgrade"),
        ("Transfer-Encoding", "chunked"),
        ("Date", "now"),
    ],
)
def test_an_unusual_header_is_left_to_gunicorn(header: tuple[str, str]) -> None:
    assert complete(started(headers=[*JSON, header]), BODY, closes=False) is None


def test_an_error_of_an_application_after_its_start_is_raised() -> None:
    try:
        raise RuntimeError("late")
    except RuntimeError as error:
        with pytest.raises(RuntimeError, match="late"):
            Started()("500 ", [], (RuntimeError, error, None))
