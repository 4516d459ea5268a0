"""Event source: the events of one upstream stream, from bytes to records to events, with the timeouts of a stream."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol

from lib import failure_reasons as reasons
from messages_api.backend.attempt import Attempt, UpstreamResponse
from messages_api.backend.exchange import MAX_RESPONSE_BYTES, Exchange
from messages_api.backend.protocol import sse, wire
from messages_api.backend.protocol.error_mapping import FAILED_GENERATIONS, UNREADABLE, MappedError
from messages_api.backend.protocol.served import Served
from messages_api.backend.protocol.types import Event
from messages_api.backend.protocol.usage import ReportedUsage, Usage
from messages_api.backend.protocol.whole import is_generated, is_json, message_of
from messages_api.backend.upstream_error import UpstreamError

FRAME_END = re.compile(rb"(?:\r\n|\r(?!\n)|\n)(?:\r\n?|\n)")  # a line end and an empty line
OVERLAP = 3
MAX_OPENING_BYTES = 64 * 1024
GRACE_S = 2.0  # how long usage and end mark may arrive after the finish reason


class EventBatch(NamedTuple):
    """The events of one read. Empty if no data arrived."""

    events: list[Event]
    raw: bytes | None = None
    """The upstream's bytes, if they equal the events and can be passed through to a client of the Anthropic API."""


class Decoder(Protocol):
    """Decode an upstream's records into events, without I/O."""

    error: MappedError | None
    """The error that ended the stream."""
    usage: Usage
    """The counts that the upstream reported so far."""
    served: Served
    """What was served, as the upstream states it."""
    is_whole: bool
    """The response is complete, including its end mark."""
    has_changed: bool
    """The event of the last record differs from the record."""

    @property
    def is_complete(self) -> bool:
        """The finish reason of the response is known."""

    @property
    def characters(self) -> int:
        """Characters of content in the events."""

    @property
    def has_generated(self) -> bool:
        """Content or usage was seen."""

    def read(self, record: sse.Record) -> list[Event]: ...

    def read_body(self, body: object) -> list[Event]: ...

    def eof(self) -> list[Event]: ...


class EventSource:
    """Read events from an open exchange. `close()` must be called and may be repeated."""

    def __init__(self, exchange: Exchange, decoder: Decoder, *, keep_raw: bool = False) -> None:
        self._exchange = exchange
        self._decoder = decoder
        self._frames = FrameBuffer() if keep_raw else None
        self._parser = sse.SSEParser()
        self._bytes_without_event = 0
        self._grace_expires_at: float | None = None
        self._has_begun = False
        self._is_open = False
        """Whether the first event was read."""
        self._body = b""
        self._opening = b""
        """The bytes before the first event."""
        self.is_ended = False
        """No event follows."""
        self.first = self._read_first()

    @property
    def error(self) -> UpstreamError | None:
        """The error that ended the stream: the upstream's own, or a stream that ended early."""
        mapped = self._decoder.error
        if mapped is None:
            return None
        endpoint = self._exchange.endpoint
        error = UpstreamError.from_mapped(mapped, endpoint=endpoint)
        return self._billed(error) if self._was_generated(mapped) else error

    def _was_generated(self, mapped: MappedError) -> bool:
        """Whether the stream is billed in spite of its error. One that the upstream reports before content is not."""
        if mapped in UNREADABLE:
            return self._has_generated
        return self._decoder.characters > 0 or (mapped in FAILED_GENERATIONS and self._decoder.has_generated)

    def _billed(self, error: UpstreamError) -> UpstreamError:
        return error.as_billed() if self._exchange.endpoint.profile.bills_unreadable else error

    @property
    def _has_generated(self) -> bool:
        return self._decoder.has_generated or is_generated(self._body or self._opening)

    def reported_usage(self) -> ReportedUsage:
        """Return the counts that the upstream reported so far."""
        decoder = self._decoder
        return ReportedUsage.of(decoder.usage, is_final=decoder.is_whole or decoder.is_complete)

    def _read_first(self) -> EventBatch:
        """Wait for the first event. Nothing was sent to the client yet, so an error can still be an HTTP status."""
        try:
            batch = self._read_until_event()
            if self.error is not None:
                raise self.error
        except BaseException:
            self.close()
            raise
        return batch

    def _read_until_event(self) -> EventBatch:
        try:
            while True:
                batch = self.read(wait_s=float("inf"))
                if any(event["type"] != "ping" for event in batch.events):
                    self._is_open = True
                    # Before, an error in the next chunk would take the events from the client: it gets a status then.
                    self._exchange.join_chunks()
                    return batch
        except UpstreamError as error:  # the rest of an event is missing
            if self._has_generated:
                self._billed(error)
            raise

    def read(self, *, wait_s: float) -> EventBatch:
        """Return the events that arrive within `wait_s`, which may be none. Raise UpstreamError if the read fails."""
        piece = self._exchange.read(wait_s=self._within_grace(wait_s))
        if piece is None:
            return EventBatch(self._end()) if self._is_grace_over() else EventBatch([])
        if not piece:
            return EventBatch(self._end())
        if not self._has_begun and (start := piece.removeprefix(sse.BOM).lstrip()):
            self._has_begun = True
            if is_json(start):
                return EventBatch(self._read_body(piece))
        if not self._is_open:
            self._exchange.responded_at = time.monotonic()
            if len(self._opening) < MAX_OPENING_BYTES:
                self._opening += piece
        records = self._parse(piece)
        if records or b"\n" in piece:
            self._exchange.progress()  # a comment counts as progress, a line that never ends does not
        batch = self._batch(records, piece)
        self._bytes_without_event = 0 if batch.events else self._bytes_without_event + len(piece)
        if self._bytes_without_event > MAX_RESPONSE_BYTES:
            message = "The upstream sent too much without an event."
            raise UpstreamError(message, reason=reasons.RESPONSE_TOO_LARGE)
        return batch

    def _read_body(self, piece: bytes) -> list[Event]:
        """Return the events of an upstream that ignores `stream`, and responds with JSON."""
        self._body = piece + self._exchange.read_all()
        try:
            events = self._decoder.read_body(wire.decode(self._body))
        except ValueError:
            events = self._decoder.read(sse.Record(None, "{"))  # an error: the body is not JSON
        if self._decoder.error is not None:
            self._redact(events)
        self._set_end()
        return events

    def _batch(self, records: list[sse.Record], piece: bytes) -> EventBatch:
        """Return the events of some records, with their bytes if each record is exactly its event."""
        if self._frames is None:
            return EventBatch(self._decode(records))
        raw: bytes | None = self._complete_frames(self._frames, piece)
        events: list[Event] = []
        for record in records:
            decoded = self._decode([record])
            events += decoded
            if len(decoded) != 1 or self._decoder.has_changed or self._decoder.error is not None:
                raw = None
        return EventBatch(events, raw if raw is not None and _is_utf8(raw) else None)

    def _parse(self, piece: bytes) -> list[sse.Record]:
        with _size_checked():
            return self._parser.feed(piece)

    def _complete_frames(self, frames: "FrameBuffer", piece: bytes) -> bytes:
        with _size_checked():
            return frames.feed(piece)

    def _decode(self, records: list[sse.Record]) -> list[Event]:
        events: list[Event] = []
        for position, record in enumerate(records):
            if position:  # the first follows a read, which gave the others their turn
                self._exchange.step()
            events += self._decoder.read(record)
        if self._decoder.error is not None:
            self._redact(events)
        self._set_end()
        return events

    def _set_end(self) -> None:
        """Note the end. Start the grace period after the finish reason; content after it ends the period."""
        self.is_ended = self._decoder.is_whole or self._decoder.error is not None
        if self.is_ended or not self._decoder.is_complete:
            self._grace_expires_at = None
        elif self._grace_expires_at is None:
            self._grace_expires_at = time.monotonic() + GRACE_S

    def _redact(self, events: list[Event]) -> None:
        for event in events:
            if event["type"] == "error":
                event["error"]["message"] = self._exchange.endpoint.redact(event["error"]["message"])

    def _within_grace(self, wait_s: float) -> float:
        if self._grace_expires_at is None:
            return wait_s
        return max(0.0, min(wait_s, self._grace_expires_at - time.monotonic()))

    def _is_grace_over(self) -> bool:
        return self._grace_expires_at is not None and time.monotonic() >= self._grace_expires_at

    def _end(self) -> list[Event]:
        """Return the events for the end of the bytes: buffered ones, and an error if the response is incomplete."""
        events = self._decode(self._parser.eof()) + self._decoder.eof()  # this error is in the gateway's own words
        self._set_end()
        return events

    def close(self) -> None:
        self._exchange.close()


def open_source(attempt: Attempt, decoder: Decoder, *, keep_raw: bool = False) -> EventSource:
    """Return the source of an attempt with its first event. Raise UpstreamError if there is none."""
    attempt.reported_usage = lambda: decoder.usage
    attempt.served = decoder.served
    return EventSource(attempt.exchange, decoder, keep_raw=keep_raw)


def read_complete(attempt: Attempt, raw: bytes, decoder: Decoder) -> UpstreamResponse:
    """Return the response of an upstream that sends a stream although none was requested. Raise UpstreamError."""
    parser = sse.SSEParser(max_frame_bytes=MAX_RESPONSE_BYTES)
    events = [event for record in (*parser.feed(raw), *parser.eof()) for event in decoder.read(record)]
    events += decoder.eof()
    attempt.reported_usage = lambda: decoder.usage
    attempt.served = decoder.served
    if decoder.error is not None:
        raise attempt.invalid(decoder.error, raw)
    reported_usage = ReportedUsage.of(decoder.usage, is_final=True)
    return UpstreamResponse(message=message_of(events), reported_usage=reported_usage)


@contextmanager
def _size_checked() -> Iterator[None]:
    try:
        yield
    except sse.FrameTooLarge as error:
        message = "The upstream sent a frame that is too large."
        raise UpstreamError(message, reason=reasons.RESPONSE_TOO_LARGE) from error


def _is_utf8(raw: bytes) -> bool:
    """Whether a client can decode the bytes. Otherwise the parsed events are sent, with U+FFFD."""
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


class FrameBuffer:
    """Split the bytes of a stream into complete frames, so that a frame of the gateway can follow them.

    A frame ends where the record parser ends it, so that the two never differ by a byte.
    """

    def __init__(self) -> None:
        self._buffered: list[bytes] = []
        self._buffered_bytes = 0
        self._tail = b""
        """The last buffered bytes: the end of a frame may be split between two reads."""
        self._is_started = False

    def feed(self, piece: bytes) -> bytes:
        """Return the bytes of the frames that are complete now. Raise FrameTooLarge."""
        seen = self._tail + piece
        end = max((match.end() for match in FRAME_END.finditer(seen)), default=0) - len(self._tail)
        if end <= 0:
            self._buffered_bytes += len(piece)
            if self._buffered_bytes > sse.MAX_FRAME_BYTES:  # endless comments, which the parser does not keep
                raise sse.FrameTooLarge(f"a frame has more than {sse.MAX_FRAME_BYTES} bytes")
            self._buffered.append(piece)
            self._tail = seen[-OVERLAP:]
            return b""
        complete = b"".join([*self._buffered, piece[:end]])
        if not self._is_started:
            self._is_started = True
            complete = complete.removeprefix(sse.BOM)  # SDKs would read it as a part of the first event's name
        self._buffered = [piece[end:]]
        self._buffered_bytes = len(piece) - end
        self._tail = piece[end:][-OVERLAP:]
        return complete
