"""Parser of HTTP responses: framing, bounds, and what is no response."""

from http.client import BadStatusLine, HTTPException, IncompleteRead, LineTooLong, RemoteDisconnected

import pytest

from messages_api.backend import response_parser
from messages_api.backend.response_parser import ResponseParser

LENGTH = b"Content-Length: 2"
CHUNKED = b"Transfer-Encoding: chunked"
SIZES = [1, 2, 3, 7, 10_000]


def response(
    *headers: bytes, body: bytes = b"", line_end: bytes = b"\r\n", status: bytes = b"HTTP/1.1 200 OK"
) -> bytes:
    return line_end.join([status, *headers, b"", b""]) + body


def parsed(data: bytes, *, size: int = 10_000, is_ended: bool = False) -> ResponseParser:
    """Return a parser that was fed in pieces of a size, until it fails."""
    parser = ResponseParser()
    for start in range(0, len(data), size):
        parser.feed(data[start : start + size])
        if parser.failure is not None:
            return parser
    if is_ended:
        parser.end()
    return parser


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("data", "is_complete", "is_reusable"),
    [
        pytest.param(response(LENGTH, body=b"hi"), True, True, id="length"),
        pytest.param(response(CHUNKED, body=b"1\r\nh\r\n1;a=b\r\ni\r\n0\r\nx: y\r\n\r\n"), True, True, id="chunks"),
        pytest.param(response(CHUNKED, body=b"2  \r\nhi\r\n0\r\n\r\n"), True, True, id="space after a size"),
        pytest.param(response(body=b"hi"), False, False, id="until the close"),
        pytest.param(response(LENGTH, b"Connection: close", body=b"hi"), True, False, id="close"),
        pytest.param(response(LENGTH, body=b"hi", status=b"HTTP/1.0 200 OK"), True, False, id="HTTP/1.0"),
        pytest.param(response(LENGTH, body=b"hi\x00more"), True, False, id="bytes after the end"),
        pytest.param(response(LENGTH, body=b"hi" + response(LENGTH)), True, False, id="a second response"),
        pytest.param(response(LENGTH, b"Upgrade: h2c", b"Connection: upgrade", body=b"hi"), True, True, id="upgrade"),
    ],
)
def test_a_body_ends_as_its_head_says(data: bytes, is_complete: bool, is_reusable: bool, size: int) -> None:
    parser = parsed(data, size=size)

    assert (parser.status, parser.take(), parser.failure) == (200, b"hi", None)
    assert (parser.is_complete, parser.is_reusable) == (is_complete, is_reusable)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(response(b"X-A: b\r\n c", LENGTH, body=b"hi"), id="folded"),
        pytest.param(response(b"X-A: b c", LENGTH, body=b"hi", line_end=b"\n"), id="LF"),
        pytest.param(response(b"X-B: d\rX-A: b\r\n c", LENGTH, body=b"hi"), id="CR"),
        pytest.param(response(b"X-A : b c", LENGTH, body=b"hi"), id="space before the colon"),
    ],
)
def test_white_space_in_a_head_is_read_as_it_is_meant(data: bytes, size: int) -> None:
    parser = parsed(data, size=size)

    assert (parser.status, parser.take(), parser.is_complete) == (200, b"hi", True)
    assert (b"X-A", b"b c") in parser.headers


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("data", "error"),
    [
        pytest.param(response(LENGTH, CHUNKED), HTTPException, id="length and chunks"),
        pytest.param(response(CHUNKED, LENGTH), HTTPException, id="chunks and length"),
        pytest.param(response(LENGTH, b"Content-Length: 3"), HTTPException, id="two lengths"),
        pytest.param(response(b"Content-Length: -1"), HTTPException, id="a negative length"),
        pytest.param(response(b"Content-Length: 9" * 30), HTTPException, id="a length that is none"),
        pytest.param(response(b"x: a\0b", LENGTH), HTTPException, id="NUL"),
        pytest.param(response(b"no colon", LENGTH), HTTPException, id="no colon"),
        pytest.param(b"SSH-2.0-Other\r\n", BadStatusLine, id="SSH"),
        pytest.param(b"\0\0\0\4\0\0\0\0\0", BadStatusLine, id="HTTP/2"),
        pytest.param(response(LENGTH, status=b"RTSP/1.0 200 OK"), BadStatusLine, id="RTSP"),
        pytest.param(response(LENGTH, status=b"HTTP/1.1 1000 OK"), BadStatusLine, id="a status of four digits"),
        pytest.param(response(status=b"HTTP/1.1 103 E") * 17 + response(LENGTH), BadStatusLine, id="interim responses"),
        pytest.param(response(*[b"x: y"] * 101), HTTPException, id="many headers"),
        pytest.param(response(b"x: " + b"y" * 70_000), LineTooLong, id="a long header"),
        pytest.param(response(*[b"x: y\r\n z"] * 10_000), HTTPException, id="a long head that is folded"),
    ],
)
def test_a_head_that_is_invalid_or_exceeds_a_bound_has_no_status(
    data: bytes, error: type[Exception], size: int
) -> None:
    parser = parsed(data, size=max(size, len(data) // 2_000))

    assert isinstance(parser.failure, error)
    assert parser.status is None


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"zz\r\nhi\r\n", id="a size that is no number"),
        pytest.param(b"-2\r\nhi\r\n", id="a negative size"),
        pytest.param(b"0x2\r\nhi\r\n", id="a prefix"),
        pytest.param(b"f" * 17 + b"\r\nhi", id="a size beyond 64 bits"),
        pytest.param(b"2\r\nhiXX0\r\n\r\n", id="no line end after a chunk"),
        pytest.param(b"0\r\n" + b"x: y\r\n" * 102, id="many trailers"),
        pytest.param(b"1;a=" + b"b" * 300_000, id="a long extension"),
    ],
)
def test_a_body_with_invalid_chunks_fails(body: bytes) -> None:
    parser = parsed(response(CHUNKED, body=b"2\r\nhi\r\n" + body))

    assert (parser.status, parser.take_first(), parser.is_reusable) == (200, b"hi", False)
    assert isinstance(parser.failure, HTTPException)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        pytest.param(b"", RemoteDisconnected, id="nothing"),
        pytest.param(b"HTTP/1.1 20", IncompleteRead, id="in the status line"),
        pytest.param(b"HTTP/1.1 200 OK\r\nx: y", IncompleteRead, id="in the head"),
        pytest.param(response(b"Content-Length: 3", body=b"hi"), IncompleteRead, id="in a body with a length"),
        pytest.param(response(CHUNKED, body=b"3\r\nhi"), IncompleteRead, id="in a chunk"),
        pytest.param(response(CHUNKED, body=b"2\r\nhi\r\n"), IncompleteRead, id="between two chunks"),
        pytest.param(response(CHUNKED, body=b"2\r\nhi\r\n0\r\n"), IncompleteRead, id="before the end of the trailers"),
    ],
)
def test_a_close_that_cuts_a_response_is_an_error(data: bytes, error: type[Exception]) -> None:
    assert type(parsed(data, is_ended=True).failure) is error


def test_a_close_ends_a_body_without_a_length() -> None:
    parser = parsed(response(body=b"hi"), is_ended=True)

    assert (parser.take(), parser.failure, parser.is_complete, parser.is_reusable) == (b"hi", None, True, False)


def test_trailers_are_no_headers() -> None:
    parser = parsed(response(CHUNKED, body=b"0\r\nretry-after: 1\r\n\r\n"))

    assert parser.headers == [(b"Transfer-Encoding", b"chunked")]


def test_the_bounds_are_those_of_the_standard_library() -> None:
    at_the_bounds = response(*[b"x: y"] * 98, b"x: " + b"y" * 60_000, LENGTH, body=b"hi")

    assert parsed(at_the_bounds).is_complete
    assert response_parser.MAX_HEADERS == 100
