"""Parser of one HTTP/1.1 response: httptools' parser within bounds, without I/O.

The bounds are those of `http.client`. The errors are its classes too, so that one list maps them to reasons.
"""

import re
from http.client import BadStatusLine, HTTPException, IncompleteRead, LineTooLong, RemoteDisconnected
from typing import Any

import httptools

MAX_INTERIM_RESPONSES = 16  # with status 1xx, before the final response
MAX_HEADERS = 100  # in a head, and in the trailers
MAX_LINE_BYTES = 65_536
MAX_UNPARSED_BYTES = 3 * 65_536
"""Bytes that yield neither a header nor a piece of the body: a line that never ends, and the read that it began in."""
MAX_ODD_HEAD_BYTES = 65_536
ODD_HEAD_END = re.compile(rb"\n\r?\n")
FOLD = re.compile(rb"(?:\r\n|\r|\n)[ \t]+")
LINE_END = re.compile(rb"\r\n|\r|\n")
SPACE_BEFORE_COLON = re.compile(rb"(?m)^([!-9;-~]+)[ \t]+:")
PROTOCOL = b"HTTP/1."
SWITCHING_PROTOCOLS = 101
Header = tuple[bytes, bytes]


class ResponseParser:
    """Takes the bytes of a response as they arrive: `status` and `headers` once they are known, `pieces` of the body.

    The parser is strict: a head with Content-Length and Transfer-Encoding, two lengths, an invalid name or a NUL is an
    error. White space is not: folded lines, a space before the colon, and lines that end with CR or LF alone are what
    proxies make of headers. Such a head is parsed again as it is meant.
    """

    __slots__ = (
        "_head",
        "_interim_count",
        "_is_odd",
        "_parser",
        "_trailer_count",
        "_unparsed_bytes",
        "failure",
        "headers",
        "is_complete",
        "is_reusable",
        "pieces",
        "status",
    )

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        """The bytes of the body that arrived and were not taken."""
        self.failure: HTTPException | None = None
        """Why the bytes are no valid response, or exceed a bound. `pieces` arrived before."""
        self.is_complete = False
        """Whether the response has ended."""
        self.is_reusable = False
        """Whether the connection can serve another request: the response ended, and no byte follows it."""
        self._head: bytes | None = b""
        """The bytes that were parsed without a status; None once they are too many for a second try."""
        self._is_odd = False
        self._start()

    def _start(self) -> None:
        self.status: int | None = None
        """The status of the final response, once its head is complete."""
        self.headers: list[Header] = []
        self._interim_count = self._trailer_count = 0
        self._unparsed_bytes = 0
        self._parser: Any = httptools.HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(lenient_spaces_after_chunk_size=True)

    def feed(self, data: bytes) -> None:
        """Parse the next bytes. Sets `failure` if they are invalid."""
        if self._is_odd:
            self._feed_odd(data)
            return
        if self._head == b"" and self.status is None and not data.startswith(PROTOCOL[: len(data)]):
            self.failure = BadStatusLine("not HTTP/1")
            return
        self._unparsed_bytes += len(data)
        error = self._parse(data)
        if error is not None:
            self._handle(error, data)
        elif self._unparsed_bytes > MAX_UNPARSED_BYTES:
            self.failure = LineTooLong("response line")
        elif self.status is None and self._head is not None:
            self._head = self._head + data if len(self._head) < MAX_ODD_HEAD_BYTES else None

    def _parse(self, data: bytes) -> HTTPException | None:
        """Return the error instead of raising it, so that the parser's own is not its context in the log."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # status 101, which no request asks for
            return None
        except httptools.HttpParserInvalidStatusError:
            return BadStatusLine("invalid status")
        except httptools.HttpParserError:
            has_status = self._parser.get_status_code() > 0
            return HTTPException("invalid response") if has_status else BadStatusLine("invalid status line")
        return None

    def _handle(self, error: HTTPException, data: bytes) -> None:
        """Set the failure, unless the bytes follow the response or a second try may succeed."""
        if self.is_complete:
            self.is_reusable = False
        elif self.failure is None and (self.status is not None or self._head is None or _is_of_status(error)):
            self.failure = error
        elif self.failure is None:
            self._is_odd = True
            self._feed_odd(data)

    def _feed_odd(self, data: bytes) -> None:
        """Parse a head that the parser rejected, once it is complete, with white space as it expects it."""
        self._head = data = (self._head or b"") + data
        end = ODD_HEAD_END.search(data)
        if end is None:
            if len(data) > MAX_ODD_HEAD_BYTES:
                self.failure = LineTooLong("response head")
            return
        head = FOLD.sub(b" ", data[: end.start()].removesuffix(b"\r"))
        self._start()
        error = self._parse(SPACE_BEFORE_COLON.sub(b"\\1:", LINE_END.sub(b"\r\n", head)) + b"\r\n\r\n")
        if error is not None or self.status is None:
            self.failure = self.failure or error or HTTPException("invalid response head")
            return
        self._is_odd = False
        if rest := data[end.end() :]:
            self.feed(rest)

    def end(self) -> None:
        """Note the end of the connection. Sets `failure` if it cuts the response."""
        if self.status is None:
            is_begun = self._head != b""
            self.failure = IncompleteRead(b"") if is_begun else RemoteDisconnected("closed without a response")
        elif not self.is_complete and _is_framed(self.headers):
            self.failure = self.failure or IncompleteRead(b"")
        else:
            self.is_complete = True
            self.is_reusable = False

    def close(self) -> None:
        """Release the parser, which refers to this object as well."""
        self._parser = None

    def take(self) -> bytes:
        """Return the bytes of the body that have arrived, which may be none."""
        pieces, self.pieces = self.pieces, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def take_first(self) -> bytes:
        """Return the bytes that arrived first: at most those of one chunk."""
        return self.pieces.pop(0)

    # ---- called by the parser, which turns an exception into one of its own

    def on_message_begin(self) -> None:
        if self.is_complete:
            self.is_reusable = False  # bytes after the response

    def on_header(self, name: bytes, value: bytes) -> None:
        self._unparsed_bytes = 0
        if self.status is not None:
            self._on_trailer()
        elif len(name) + len(value) > MAX_LINE_BYTES:
            self.failure = LineTooLong("header line")
        elif len(self.headers) >= MAX_HEADERS:
            self.failure = HTTPException(f"got more than {MAX_HEADERS} headers")
        else:
            self.headers.append((name, value))

    def _on_trailer(self) -> None:
        """Count a header after the body. Nothing reads it; it must not look like one of the head."""
        self._trailer_count += 1
        if self._trailer_count > MAX_HEADERS and not self.is_complete:
            self.failure = HTTPException(f"got more than {MAX_HEADERS} trailers")

    def on_headers_complete(self) -> None:
        if self.status is not None:
            return
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != SWITCHING_PROTOCOLS:
            self._interim_count += 1
            self.headers = []
            if self._interim_count > MAX_INTERIM_RESPONSES:
                self.failure = BadStatusLine("too many interim responses")
            return
        if self.failure is None:
            self.status = status

    def on_body(self, piece: bytes) -> None:
        self._unparsed_bytes = 0
        if not self.is_complete:
            self.pieces.append(piece)

    def on_message_complete(self) -> None:
        if self.status is not None and not self.is_complete:
            self.is_complete = True
            self.is_reusable = self.status != SWITCHING_PROTOCOLS and self._parser.should_keep_alive()


def _is_of_status(error: HTTPException) -> bool:
    return isinstance(error, BadStatusLine)


def _is_framed(headers: list[Header]) -> bool:
    """Whether the head says where the body ends. Otherwise it ends with the connection."""
    for name, value in headers:
        lowered = name.lower()
        if lowered == b"content-length":
            return True
        if lowered == b"transfer-encoding" and value.lower().endswith(b"chunked"):
            return True
    return False
