"""Plain requests: read as gunicorn's parser reads them, or left to it."""

import json
from pathlib import Path
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http import wsgi
from gunicorn.http.unreader import IterUnreader
from hypothesis import given
from hypothesis import strategies as st

from project.server import environ
from project.server.plain_requests import MAX_FIELDS, MAX_HEAD_BYTES, PlainRequest, read_request
from project.server.unread_bodies import ClosingRequest
from tests.messages_api.intake.bad_inputs import replay
from tests.support import ROOT

PEER, LISTENER = ("192.0.2.7", 5_000), ("127.0.0.1", 8_000)
UNIX_LISTENER = "/run/gateway.sock"
CATALOG = ROOT / "tests" / "messages_api" / "intake" / "bad_inputs" / "rows.jsonl"
ROWS = [json.loads(line) for line in Path(CATALOG).read_text().splitlines()]
START = b"POST /api/v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\n"
NOT_COMPARED = {"wsgi.errors", "wsgi.input", "gunicorn.socket", "wsgi.early_hints"}


class Received(IterUnreader):
    """The bytes that a client has sent, as gunicorn reads them from its socket."""

    def __init__(self, *pieces: bytes) -> None:
        super().__init__(pieces)
        self.sock = self

    def recv(self, size: int) -> bytes:
        return self.chunk()


def configuration() -> Config:
    cfg = Config()
    for name, value in {
        "http_parser": "python",
        "limit_request_line": 8_190,
        "limit_request_fields": MAX_FIELDS,
        "limit_request_field_size": 8_190,
        "forwarded_allow_ips": "",
        "header_map": "drop",
    }.items():
        cfg.set(name, value)
    return cfg


CFG = configuration()
CONSTANTS = environ.constant_part(CFG)


def outcome(read: Any, data: bytes, *, peer: Any = PEER, listener: Any = LISTENER) -> Any:
    """Return the error of a parser, or environ, body, framing and what follows the request."""
    unreader = Received(data)
    try:
        request = read(CFG, unreader, peer, 1)
        if isinstance(request, PlainRequest):
            made = CONSTANTS | environ.of(request, None, listener, peer)
        else:
            made = wsgi.create(request, None, peer, listener, CFG)[1] | {"wsgi.multithread": True}
        closes = request.should_close()
        body = request.body.read()
    except Exception as error:
        return type(error)
    made = {name: value for name, value in made.items() if name not in NOT_COMPARED}
    return made, request.method, request.version, closes, body, unreader.take_buffered()


def is_plain(data: bytes, *, peer: Any = PEER) -> bool:
    try:
        return isinstance(read_request(CFG, Received(data), peer), PlainRequest)
    except Exception:
        return False


def assert_the_same(data: bytes) -> None:
    for peer, listener in ((PEER, LISTENER), ("", UNIX_LISTENER), (b"", UNIX_LISTENER)):
        ours = outcome(read_request, data, peer=peer, listener=listener)
        assert ours == outcome(ClosingRequest, data, peer=peer, listener=listener)


PLAIN = {
    "no body": START + b"\r\n",
    "no field": b"GET / HTTP/1.1\r\n\r\n",
    "with body": START + b"Content-Length: 4\r\nContent-Type: application/json\r\n\r\n{}{}",
    "part of a body": START + b"Content-Length: 9\r\n\r\n{}",
    "pipelined": START + b"Content-Length: 2\r\n\r\n{}" + START + b"\r\n",
    "query": b"GET /a%20b/%C3%A9?beta=true&x=%2f? HTTP/1.1\r\nHost: h:81\r\n\r\n",
    "empty query": b"GET /a? HTTP/1.1\r\nHost: h\r\n\r\n",
    "odd target": b"GET /a;b=[c]\\d|{e}//f/../g:h@i HTTP/1.1\r\nHost: h\r\n\r\n",
    "spaces": START + b"X-A: \t b  c\t \r\nX-B:\r\nX-C:d\r\n\r\n",
    "8 bits": START + b"X-A: \xe9\xff\x80\r\n\r\n",
    "close": START + b"connection: Close\r\n\r\n",
    "keep-alive": START + b"Connection: keep-alive\r\n\r\n",
    "forwarded": START + b"X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n\r\n",
    "leading zeros": START + b"Content-Length: 002\r\n\r\n{}",
    "most fields": START + b"".join(b"X-%d: y\r\n" % n for n in range(MAX_FIELDS - 1)) + b"\r\n",
}
LEFT_TO_GUNICORN = {
    "chunked": START + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "chunked with trailers": START + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-A: b\r\n\r\n",
    "both lengths": START + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "identity": START + b"Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}",
    "xchunked": START + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "space before the colon": START + b"Transfer-Encoding : chunked\r\nContent-Length: 2\r\n\r\n{}",
    "expect": START + b"Expect: 417-please\r\n\r\n",
    "two equal lengths": START + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "two lengths": START + b"Content-Length: 2\r\ncontent-length: 3\r\n\r\n{}",
    "list of lengths": START + b"Content-Length: 2, 2\r\n\r\n{}",
    "signed length": START + b"Content-Length: +2\r\n\r\n{}",
    "hexadecimal length": START + b"Content-Length: 0x2\r\n\r\n{}",
    "superscript length": START + b"Content-Length: \xb2\r\n\r\n{}",
    "empty length": START + b"Content-Length: \r\n\r\n{}",
    "endless length": START + b"Content-Length: 0000000000000000000000002\r\n\r\n{}",
    "two hosts": START + b"Host: evil\r\n\r\n",
    "two content types": START + b"Content-Type: a\r\nContent-Type: b\r\n\r\n",
    "repeated field": START + b"X-A: b\r\nX-A: c\r\n\r\n",
    "folded": START + b"X-A: b\r\n c: d\r\n\r\n",
    "folded first": b"GET / HTTP/1.1\r\n Host: h\r\n\r\n",
    "bare LF": START + b"X-A: b\nX-B: c\r\n\r\n",
    "only LF": b"GET / HTTP/1.1\nHost: h\n\n",
    "bare CR": START + b"X-A: b\rX-B: c\r\n\r\n",
    "NUL": START + b"X-A: b\0\r\n\r\n",
    "DEL": START + b"X-A: b\x7f\r\n\r\n",
    "underscore": START + b"X_A: b\r\nContent_Length: 2\r\n\r\n",
    "no name": START + b": b\r\n\r\n",
    "no colon": START + b"X-A\r\n\r\n",
    "8 bits in a name": START + b"X-\xdf: b\r\n\r\n",
    "HTTP/1.0": b"GET / HTTP/1.0\r\nHost: h\r\n\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\nHost: h\r\n\r\n",
    "HTTP/2.0": b"GET / HTTP/2.0\r\nHost: h\r\n\r\n",
    "HTTP/11": b"GET / HTTP/11\r\nHost: h\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "lower case": b"get / HTTP/1.1\r\nHost: h\r\n\r\n",
    "another method": b"CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n",
    "trace": b"TRACE / HTTP/1.1\r\nHost: h\r\n\r\n",
    "absolute": b"GET http://h/a HTTP/1.1\r\nHost: h\r\n\r\n",
    "authority": b"GET //evil/a HTTP/1.1\r\nHost: h\r\n\r\n",
    "fragment": b"GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n",
    "asterisk": b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
    "two spaces": b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
    "space in the target": b"GET /a b HTTP/1.1\r\nHost: h\r\n\r\n",
    "8 bits in the target": b"GET /\xe9 HTTP/1.1\r\nHost: h\r\n\r\n",
    "empty line first": b"\r\n" + START + b"\r\n",
    "two empty lines first": b"\r\n\r\n" + START + b"\r\n",
    "upgrade": START + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "other connection": START + b"Connection: close, x\r\n\r\n",
    "too many fields": START + b"".join(b"X-%d: y\r\n" % n for n in range(MAX_FIELDS)) + b"\r\n",
    "too long": START + b"X-A: " + b"b" * MAX_HEAD_BYTES + b"\r\n\r\n",
    "long together": START + b"".join(b"X-%d: %s\r\n" % (n, b"b" * 3_000) for n in range(3)) + b"\r\n",
    "unfinished": START,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "nothing": b"",
}


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_request_is_what_gunicorn_reads(name: str) -> None:
    assert is_plain(PLAIN[name])
    assert_the_same(PLAIN[name])


@pytest.mark.parametrize("name", LEFT_TO_GUNICORN)
def test_an_unusual_request_is_left_to_gunicorn(name: str) -> None:
    assert not is_plain(LEFT_TO_GUNICORN[name])
    assert_the_same(LEFT_TO_GUNICORN[name])


def test_the_scheme_of_a_trusted_peer_is_left_to_gunicorn() -> None:
    assert is_plain(PLAIN["forwarded"]) and not is_plain(PLAIN["forwarded"], peer="")
    made = outcome(read_request, PLAIN["forwarded"], peer="", listener=UNIX_LISTENER)[0]
    assert made["wsgi.url_scheme"] == "https"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_each_request_of_the_catalog_is_what_gunicorn_reads(row: dict[str, Any]) -> None:
    names = dict.fromkeys(replay.PLACEHOLDER.findall(json.dumps(row)), "x" * 50) | {"HOST": "127.0.0.1:8000"}
    assert_the_same(replay.request_bytes(row, names))


PIECES = st.one_of(
    st.sampled_from(
        [b"GET", b"POST", b"/", b"/a", b"?b", b"#", b" ", b" HTTP/1.1", b"\r\n", b"\n", b"\r", b"\0", b":"]
    ),
    st.sampled_from([b"Host: h\r\n", b"Content-Length: 2\r\n", b"Content-Length:", b"Transfer-Encoding: chunked\r\n"]),
    st.sampled_from(
        [b"Connection: ", b"close", b"keep-alive", b"_", b"%2", b"\t", b"\xe9", b"X-A: b\r\n", b"{}", b"0"]
    ),
    st.binary(max_size=3),
)


@given(st.lists(PIECES, max_size=12), st.booleans())
def test_any_bytes_are_what_gunicorn_reads(pieces: list[bytes], with_start: bool) -> None:
    data = (START if with_start else b"") + b"".join(pieces) + b"\r\n\r\n"
    assert_the_same(data)


@given(st.integers(0, 200), st.integers(0, 255))
def test_a_changed_byte_is_what_gunicorn_reads(position: int, byte: int) -> None:
    data = bytearray(
        PLAIN["pipelined"].replace(b"\r\n\r\n", b"\r\nX-A: b\r\nConnection: close\r\nAccept: */*\r\n\r\n", 1)
    )
    data[position % len(data)] = byte
    assert_the_same(bytes(data))
