"""The events of one upstream's stream: bytes → records → events, with the deadlines of a stream."""

import re
import time
from typing import NamedTuple, Protocol

from messages_api.backend.exchange import Exchange
from messages_api.backend.protocol import sse
from messages_api.backend.protocol.error_mapping import MappedError
from messages_api.backend.protocol.types import Event
from messages_api.backend.protocol.usage import Usage
from messages_api.backend.redaction import redacted
from messages_api.backend.reported_usage import ReportedUsage
from messages_api.backend.upstream_error import UpstreamError

FRAME_END = re.compile(rb"(?:\r\n|\r(?!\n)|\n)(?:\r\n?|\n)")  # the end of a line, and an empty line
OVERLAP = 3
GRACE_S = 2.0  # how long the counts and the end mark may come after the finish reason


class EventBatch(NamedTuple):
    """The events that one read brought. An empty batch is silence."""

    events: list[Event]
    raw: bytes | None = None
    """The bytes they came in, where a caller who speaks the upstream's dialect may have them as they are."""


class Decoder(Protocol):
    """An upstream's records → events. No I/O: it is told when the stream ends, and how."""

    error: MappedError | None
    """Why the stream ended in an error."""
    usage: Usage
    """The upstream's own counts so far."""
    is_whole: bool
    """The answer ended as it should."""
    has_changed: bool
    """The event of the last record is not the record as it came."""

    @property
    def is_complete(self) -> bool:
        """The reason why the answer ended is known, whatever became of the stream's own end."""

    @property
    def is_finishing(self) -> bool:
        """The answer is complete; only its usage and an end mark may follow."""

    @property
    def is_ended(self) -> bool:
        """No event follows any more."""

    def read(self, record: sse.Record) -> list[Event]: ...

    def eof(self) -> list[Event]: ...


class EventSource:
    """Reads an open exchange. Whoever opened it closes it; `close` may be called twice."""

    def __init__(self, exchange: Exchange, decoder: Decoder, *, keep_raw: bool = False) -> None:
        self._exchange = exchange
        self._decoder = decoder
        self._frames = FrameBuffer() if keep_raw else None
        self._parser = sse.SSEParser()
        self._finishing_until: float | None = None
        self.first = self._read_first()

    @property
    def error(self) -> UpstreamError | None:
        """What the upstream's own error, or a stream cut before its end, is to the caller."""
        failure = self._decoder.error
        return None if failure is None else UpstreamError.from_mapped(failure, endpoint=self._exchange.endpoint)

    @property
    def is_ended(self) -> bool:
        return self._decoder.is_ended

    def reported_usage(self) -> ReportedUsage:
        """The upstream's own counts so far."""
        decoder = self._decoder
        return ReportedUsage.of(decoder.usage, is_final=decoder.is_whole or decoder.is_complete)

    def _read_first(self) -> EventBatch:
        """Wait for the first event. Nothing has been sent to the caller, so a failure can still be a status."""
        try:
            while True:
                batch = self.read(wait_s=float("inf"))
                if any(event["type"] != "ping" for event in batch.events):
                    break
            if self.error is not None:
                raise self.error
        except BaseException:
            self.close()
            raise
        return batch

    def read(self, *, wait_s: float) -> EventBatch:
        """The events that come within `wait_s`; none for silence. Raise UpstreamError when the connection fails."""
        piece = self._exchange.read(wait_s=self._patience(wait_s))
        if piece is None:
            return EventBatch(self._end()) if self._is_out_of_grace() else EventBatch([])
        if not piece:
            return EventBatch(self._end())
        records = self._parse(piece)
        if records or b"\n" in piece:
            self._exchange.progress()  # a comment is a sign of life too; a line that never ends is none
        return self._batch(records, piece)

    def _batch(self, records: list[sse.Record], piece: bytes) -> EventBatch:
        """The events of some records, with their bytes if each record is its event, unchanged."""
        if self._frames is None:
            return EventBatch(self._decode(records))
        whole: bytes | None = self._frames.feed(piece)
        events: list[Event] = []
        for record in records:
            came = self._decode([record])
            events += came
            if len(came) != 1 or self._decoder.has_changed or self._decoder.error is not None:
                whole = None
        return EventBatch(events, whole if whole is not None and _is_utf8(whole) else None)

    def _parse(self, piece: bytes) -> list[sse.Record]:
        try:
            return self._parser.feed(piece)
        except sse.FrameTooLarge as error:
            raise UpstreamError("The upstream sent a frame that is too large.") from error

    def _decode(self, records: list[sse.Record]) -> list[Event]:
        events: list[Event] = []
        for record in records:
            events += self._decoder.read(record)
        if self._decoder.error is not None:
            self._redact(events)
        if self._decoder.is_finishing and self._finishing_until is None:
            self._finishing_until = time.monotonic() + GRACE_S
        return events

    def _redact(self, events: list[Event]) -> None:
        for event in events:
            if event["type"] == "error":
                event["error"]["message"] = redacted(event["error"]["message"], self._exchange.endpoint)

    def _patience(self, wait_s: float) -> float:
        if self._finishing_until is None:
            return wait_s
        return max(0.0, min(wait_s, self._finishing_until - time.monotonic()))

    def _is_out_of_grace(self) -> bool:
        return self._finishing_until is not None and time.monotonic() >= self._finishing_until

    def _end(self) -> list[Event]:
        """The bytes are at their end: what is still open is said now, an unfinished answer as an error."""
        return self._decode(self._parser.eof()) + self._decoder.eof()  # this error is in our own words

    def close(self) -> None:
        self._exchange.close()


def _is_utf8(whole: bytes) -> bool:
    """Whether a caller can decode the bytes. What it cannot goes out as the events that we read, with U+FFFD."""
    try:
        whole.decode()
    except UnicodeDecodeError:
        return False
    return True


class FrameBuffer:
    """The bytes of a stream, given out in whole frames: what follows them can then be a frame of ours.

    A frame ends where the parser of records ends it, so that the two never disagree by a byte.
    """

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._tail = b""
        """The last of what is held: a frame's end may be cut in two."""

    def feed(self, piece: bytes) -> bytes:
        """The frames that are whole now, as they came."""
        seen = self._tail + piece
        end = max((match.end() for match in FRAME_END.finditer(seen)), default=0) - len(self._tail)
        if end <= 0:
            self._held.append(piece)
            self._tail = seen[-OVERLAP:]
            return b""
        whole = b"".join([*self._held, piece[:end]])
        self._held = [piece[end:]]
        self._tail = piece[end:][-OVERLAP:]
        return whole
