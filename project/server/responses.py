"""Responses to plain requests: a complete one is sent with its head, a stream with its head and first piece."""

import re
import time
from collections.abc import Iterable
from typing import Any

from gunicorn import SERVER, util
from gunicorn.http.message import TOKEN_RE
from gunicorn.http.wsgi import Response

MAX_NAMES = 512
_VALUES = re.compile(r"[ \t\x21-\x7e\x80-\xff]*")
_STATUS = re.compile(r"(?:2(?!04)|3(?!04)|4|5)[0-9]{2} [ \t\x21-\x7e\x80-\xff]*")
"""Statuses of responses with a body."""
_names: set[str] = set()
"""Names of headers that are valid and concern no connection."""


class Started:
    """Status and headers of a response, as the application starts it."""

    __slots__ = ("headers", "status")

    def __init__(self) -> None:
        self.status = ""
        self.headers: list[tuple[str, str]] = []

    def __call__(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
        if exc_info and exc_info[1]:
            raise exc_info[1]
        self.status, self.headers = status, headers


def complete(started: Started, body: bytes, *, closes: bool) -> bytes | None:
    """Return the bytes of a complete response, or None if something of it is unusual."""
    lines = [f"HTTP/1.1 {started.status}", f"Server: {SERVER}", f"Date: {_date()}"]
    lines.append("Connection: close" if closes else "Connection: keep-alive")
    for name, value in started.headers:
        if name not in _names and not _is_plain(name):
            return None
        lines.append(f"{name}: {value}")
    lines.append(f"Content-Length: {len(body)}\r\n\r\n")
    head = "\r\n".join(lines)
    # gunicorn's own response raises the errors of invalid headers.
    if not _STATUS.fullmatch(started.status) or not _VALUES.fullmatch("".join(value for _, value in started.headers)):
        return None
    return head.encode("latin-1") + body


def _is_plain(name: str) -> bool:
    """Return whether a name is valid and of a header that the application may set. Remembers it."""
    if not TOKEN_RE.fullmatch(name) or util.is_hoppish(name) or name.lower() == "content-length":
        return False
    if len(_names) < MAX_NAMES:
        _names.add(name)
    return True


_last_date = (0, "")


def _date() -> str:
    global _last_date
    now = int(time.time())
    if _last_date[0] != now:
        _last_date = (now, str(util.http_date(now)))
    return _last_date[1]


class JoinedResponse(Response):
    """gunicorn's response, with the head sent together with the first piece of the body."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.headers_sent: bool = False
        self._unsent = b""

    def send_headers(self) -> None:
        if not self.headers_sent:
            lines = [*self.default_headers(), *(f"{name}: {value}\r\n" for name, value in self.headers), "\r\n"]
            self._unsent = "".join(lines).encode("latin-1")
            self.headers_sent = True

    def send_whole(self, data: bytes) -> None:
        """Send a complete response: head and body."""
        self.response_length, self.headers_sent = len(data), True
        self.sock.sendall(data)

    def write(self, piece: bytes) -> None:
        super().write(piece)
        self._send(b"")

    def _emit_body(self, data: bytes) -> None:
        self._send(b"%X\r\n%b\r\n" % (len(data), data) if self.chunked else data)

    def close(self) -> None:
        self.send_headers()
        self._send(b"0\r\n\r\n" if self.chunked else b"")

    def _send(self, data: bytes) -> None:
        unsent, self._unsent = self._unsent, b""
        if unsent or data:
            self.sock.sendall(unsent + data)

    def write_all(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            self.write(piece)
        self.close()
