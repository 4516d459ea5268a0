"""Parser and writer of server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from typing import NamedTuple

from messages_api.backend.protocol import wire

MAX_FRAME_BYTES = 16 * 1024 * 1024

BOM = b"\xef\xbb\xbf"
_LINE_ENDS = b"\r\n"


class Record(NamedTuple):
    """One received event: its name or None, and its data lines joined with LF."""

    event: str | None
    data: str


class FrameTooLarge(ValueError):
    """A frame exceeds the size limit; the rest of the stream cannot be read."""


class SSEParser:
    """Parse the bytes of a stream into records, however they are split into reads.

    Lines end at LF, CR and CRLF only. Bytes that are not UTF-8 become U+FFFD. At most `max_frame_bytes` are buffered.
    """

    def __init__(self, *, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self._max_frame_bytes = max_frame_bytes
        self._started = False
        self._ended_in_cr = False
        self._rest: list[bytes] = []
        self._rest_bytes = 0
        self._event: bytes | None = None
        self._data: list[bytes] = []
        self._data_bytes = 0

    def feed(self, data: bytes) -> list[Record]:
        """Return the records that these bytes complete. Raise FrameTooLarge."""
        if not data:
            return []
        if self._ended_in_cr or b"\r" in data:
            data = self._with_lf(data)
        if b"\n" not in data:
            self._keep(data)
            return []

        lines = data.split(b"\n")
        rest = lines.pop()
        if self._rest:
            lines[0] = b"".join(self._rest) + lines[0]
            self._rest.clear()
            self._rest_bytes = 0
        if not self._started:
            self._started = True
            lines[0] = lines[0].removeprefix(BOM)
        records = self._read(lines)
        if rest:
            self._keep(rest)
        return records

    def eof(self) -> list[Record]:
        """Return the record that is still open: a stream may end without its last blank line."""
        return self.feed(b"\n\n")

    def _with_lf(self, data: bytes) -> bytes:
        """Replace each line end by LF. The LF of a CRLF that was split between two reads is not a second one."""
        if self._ended_in_cr and data.startswith(b"\n"):
            data = data[1:]
        self._ended_in_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _keep(self, rest: bytes) -> None:
        self._rest.append(rest)
        self._rest_bytes += len(rest)
        self._check_size()

    def _read(self, lines: list[bytes]) -> list[Record]:
        records: list[Record] = []
        for line in lines:
            if line.startswith(b"data:"):
                self._add(line[6:] if line[5:6] == b" " else line[5:])
            elif not line:
                self._dispatch(records)
            else:
                self._other_field(line)
        return records

    def _add(self, value: bytes) -> None:
        self._data.append(value)
        self._data_bytes += len(value) + 1
        if self._data_bytes > self._max_frame_bytes:
            self._check_size()

    def _other_field(self, line: bytes) -> None:
        """Read a line that is not a plain `data:`. Comments, `id` and `retry` are ignored."""
        name, _, value = line.partition(b":")
        if name == b"event":
            self._event = value.removeprefix(b" ")
        elif name == b"data":
            self._add(b"")

    def _dispatch(self, records: list[Record]) -> None:
        if self._data:
            event = self._event.decode("utf-8", "replace") if self._event else None
            records.append(Record(event, b"\n".join(self._data).decode("utf-8", "replace")))
            self._data.clear()
            self._data_bytes = 0
        self._event = None

    def _check_size(self) -> None:
        if self._data_bytes + self._rest_bytes > self._max_frame_bytes:
            raise FrameTooLarge(f"a frame has more than {self._max_frame_bytes} bytes")


def frame(data: object, event: str | None = None) -> bytes:
    """Return one event: an optional `event:` line, `data` as one line of JSON, a blank line."""
    line = b"data: " + wire.encode_line(data) + b"\n\n"
    if event is None:
        return line
    return b"event: " + _one_line(event) + b"\n" + line


def done() -> bytes:
    """Return the line that ends a stream of chunks."""
    return b"data: [DONE]\n\n"


def comment(text: str) -> bytes:
    """Return a comment, which clients ignore.

    Without an empty line after it: openai-go before 3.43 reads an empty event from that.
    """
    return b": " + _one_line(text) + b"\n"


def _one_line(text: str) -> bytes:
    # An event name may come from an upstream: a line end in it would inject a field.
    return text.encode("utf-8", "replace").translate(None, _LINE_ENDS)
