"""Plain requests: those whose head arrives complete and has nothing unusual. gunicorn's parser reads all others.

The pattern of a plain head is stricter than gunicorn's parser, and both have the same result: tests compare them. A
plain head takes 6 µs, gunicorn's parser 138. httptools takes 4 µs, but accepts more than gunicorn does: it would need
the pattern as well.
"""

import re
from io import BytesIO
from typing import Any

from gunicorn import util
from gunicorn.http.body import Body, LengthReader
from gunicorn.http.parser import RequestParser

from project.server.unread_bodies import MAX_DRAINED_BYTES, ClosingRequest, unread_bytes

RECEIVE_BYTES = 64 * 1024
MAX_HEAD_BYTES = 8_190  # gunicorn's limit of one line: no line of a plain head is too long
MAX_FIELDS = 60
MAX_NAMES = 512
MAX_NAME_LENGTH = 40
# Possessive quantifiers: the time is linear, whatever a client sends. Not plain are "_" in a name, with which gunicorn
# drops a field, "#" in the target and "//" at its start.
_HEAD = re.compile(
    rb"(GET|POST|HEAD|PUT|PATCH|DELETE|OPTIONS) "
    rb"(/(?!/)[!\"$->@-~]*+)(?:\?([!\"$-~]*+))?+ HTTP/1\.1\r\n"
    rb"((?:[!#$%&'*+\-.^`|~0-9A-Za-z]++:[\t\x20-\x7e\x80-\xff]*+\r\n)*+)\r\n"
)
_LENGTH = re.compile("[0-9]{1,18}")
_KEEP_ALIVE, _CLOSE = "keep-alive", "close"
_UNUSUAL = {"TRANSFER-ENCODING", "EXPECT", "UPGRADE", "SCRIPT-NAME"}

_keys: dict[str, str | None] = {}
"""Names of fields and their keys in the WSGI environ. None for fields that gunicorn handles."""


class PlainRequest:
    """A request as gunicorn's worker uses it, with its fields as the WSGI environ has them."""

    __slots__ = ("body", "fields", "method", "must_close", "path", "proxy_protocol_info", "query", "uri")
    version = (1, 1)

    def __init__(self, method: str, path: str, query: str | None, fields: dict[str, str]) -> None:
        self.method, self.path, self.query = method, path, query or ""
        self.uri = path if query is None else f"{path}?{query}"
        self.fields = fields
        self.must_close = fields.get("HTTP_CONNECTION", "").lower() == _CLOSE
        self.proxy_protocol_info: Any = None
        self.body: Any = None

    def force_close(self) -> None:
        self.must_close = True

    def should_close(self) -> bool:
        return self.must_close or unread_bytes(self) > MAX_DRAINED_BYTES

    @property
    def path_info(self) -> str:
        return str(util.unquote_to_wsgi_str(self.path)) if "%" in self.path else self.path

    def receive(self, unreader: Any, rest: bytes) -> None:
        """Set the body. The part that arrived with the head is `rest`, with what the client has pipelined."""
        length = int(self.fields.get("CONTENT_LENGTH", "0"))
        if len(rest) >= length:
            self.body = BytesIO(rest[:length])
            rest = rest[length:]
        else:
            self.body = Body(LengthReader(unreader, length))
        if rest:
            unreader.unread(rest)


def install(*, is_plain_allowed: bool) -> None:
    """Let gunicorn's worker read requests of these kinds."""

    def read(cfg: Any, unreader: Any, peer: Any, number: int = 1) -> Any:
        if not is_plain_allowed:
            return ClosingRequest(cfg, unreader, peer, number)
        return read_request(cfg, unreader, peer, number)

    RequestParser.mesg_class = staticmethod(read)


def read_request(cfg: Any, unreader: Any, peer: Any, number: int = 1) -> Any:
    """Return the next request of a connection. Raise what gunicorn's parser raises."""
    data = unreader.take_buffered() or unreader.sock.recv(RECEIVE_BYTES)
    head = _HEAD.match(data, 0, MAX_HEAD_BYTES)
    request = None if head is None else parse(head)
    if head is None or request is None or _sets_scheme(request, cfg, peer):
        unreader.unread(data)
        return ClosingRequest(cfg, unreader, peer, number)
    request.receive(unreader, data[head.end() :])
    return request


def parse(head: re.Match[bytes]) -> PlainRequest | None:
    """Return the request of a head that the pattern matches, or None if a field is unusual."""
    method, path, query, lines = (None if group is None else group.decode("latin-1") for group in head.groups())
    assert method and path and lines is not None
    fields = _fields(lines)
    return None if fields is None else PlainRequest(method, path, query, fields)


def _fields(lines: str) -> dict[str, str] | None:
    """Return the fields of valid lines by their keys in the WSGI environ, or None if one is unusual or repeated."""
    fields: dict[str, str] = {}
    split = lines.split("\r\n")
    split.pop()
    for line in split:
        name, _, value = line.partition(":")
        key = _keys[name] if name in _keys else _key_of(name)
        if key is None or key in fields:
            return None
        fields[key] = value.strip(" \t")
    if len(fields) > MAX_FIELDS:
        return None
    length = fields.get("CONTENT_LENGTH")
    if length is not None and not _LENGTH.fullmatch(length):
        return None
    connection = fields.get("HTTP_CONNECTION")
    return fields if connection is None or connection.lower() in (_KEEP_ALIVE, _CLOSE) else None


def _key_of(name: str) -> str | None:
    upper = name.upper()
    if upper in _UNUSUAL:
        key = None
    elif upper in ("CONTENT-TYPE", "CONTENT-LENGTH"):
        key = upper.replace("-", "_")
    else:
        key = "HTTP_" + upper.replace("-", "_")
    if len(name) <= MAX_NAME_LENGTH and len(_keys) < MAX_NAMES:
        _keys[name] = key
    return key


def _sets_scheme(request: PlainRequest, cfg: Any, peer: Any) -> bool:
    """Return whether the request has a field that sets the scheme when its peer is trusted, as on a Unix socket."""
    if isinstance(peer, tuple) and not cfg.forwarded_allow_ips:
        return False
    return any("HTTP_" + name.replace("-", "_") in request.fields for name in cfg.secure_scheme_headers)
