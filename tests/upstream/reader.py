"""Reader of HTTP requests: several per connection, with bodies by Content-Length or in chunks."""

import dataclasses
import json
from typing import Any

from .connection import Connection, PeerDisconnected


class BadRequest(Exception):
    """The data is not HTTP/1.1 that this reader supports."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RequestHead:
    method: str
    path: str
    version: str
    headers: dict[str, str]

    @property
    def keeps_alive(self) -> bool:
        return self.version == "HTTP/1.1" and self.headers.get("connection", "").lower() != "close"


class Reader:
    """Read heads and bodies from a connection. Raise PeerDisconnected if the peer stops sending."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._buffer = bytearray()

    def head(self) -> RequestHead:
        line = self._line()
        try:
            method, path, version = line.split(" ")
        except ValueError as error:
            raise BadRequest(line) from error
        return RequestHead(method=method, path=path, version=version, headers=self._headers())

    def body(self, head: RequestHead) -> Any:
        """Return the body as parsed JSON, or as bytes if it is not JSON."""
        if head.headers.get("expect", "").lower() == "100-continue":
            self._connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if "chunked" in head.headers.get("transfer-encoding", "").lower():
            data = self._chunks()
        else:
            data = self._exactly(_number(head.headers.get("content-length", "0"), base=10))
        try:
            return json.loads(data)
        except ValueError:
            return data

    def _headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        while line := self._line():
            name, colon, value = line.partition(":")
            if not colon:
                raise BadRequest(line)
            name, value = name.strip().lower(), value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return headers

    def _chunks(self) -> bytes:
        body = bytearray()
        while size := _number(self._line().partition(";")[0], base=16):
            body += self._exactly(size)
            self._line()
        while self._line():
            pass
        return bytes(body)

    def _line(self) -> str:
        while (end := self._buffer.find(b"\r\n")) < 0:
            self._more()
        line = self._buffer[:end].decode("latin-1")
        del self._buffer[: end + 2]
        return line

    def _exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._more()
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    def _more(self) -> None:
        data = self._connection.receive()
        if not data:
            raise PeerDisconnected("peer_closed")
        self._buffer += data


def _number(text: str, *, base: int) -> int:
    try:
        return int(text, base)
    except ValueError as error:
        raise BadRequest(text) from error
