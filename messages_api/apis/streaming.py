"""Streaming response: encoded events, heartbeats, one close."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, Self

from django.conf import settings
from django.http import StreamingHttpResponse

from messages_api.backend.protocol.types import Event, Message


class CompleteResponse(Protocol):
    """A complete response, and its bytes where they may be sent unchanged."""

    @property
    def message(self) -> Message: ...

    @property
    def raw(self) -> bytes | None: ...


class Batch(Protocol):
    """The events of one read, and their bytes where they may be sent unchanged. Empty without upstream data."""

    @property
    def events(self) -> list[Event]: ...

    @property
    def raw(self) -> bytes | None: ...


class PlainTexts(Protocol):
    """The texts of plain frames: deltas of one block, and their bytes where they may be sent unchanged."""

    @property
    def texts(self) -> list[str]: ...

    @property
    def block(self) -> int: ...

    @property
    def raw(self) -> bytes | None: ...


class EventEncoder(Protocol):
    """Encodes events in one API format."""

    def feed(self, batch: Batch) -> bytes: ...

    def feed_plain(self, batch: PlainTexts) -> bytes:
        """Encode as `feed` encodes the same deltas."""

    def ping(self) -> bytes: ...


class Batches(Iterator[Batch], Protocol):
    relay: Callable[[], bool] | None

    def next_plain(self) -> PlainTexts | None: ...

    def close(self) -> None: ...


class EncodedStream(Iterator[bytes]):
    """The bytes of a stream, with a ping whenever `HEARTBEAT_S` passed without data.

    A server that sends in its event loop calls `relay_to`. Its function then sends the plain frames that arrive while
    `next` waits, and `next` returns everything else: nothing if the server could not send all, which it sends first.
    """

    def __init__(self, batches: Batches, *, encoder: EventEncoder) -> None:
        self._batches = batches
        self._encoder = encoder
        self._sent_at = time.monotonic()
        self._send: Callable[[bytes], bool] | None = None
        self._is_sent = True
        """Whether the server has sent all plain frames."""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        self._is_sent = True
        while True:
            data = self._encoder.feed(next(self._batches))
            now = time.monotonic()
            if not data and now - self._sent_at >= settings.HEARTBEAT_S * 0.9:
                data = self._encoder.ping()
            if data:
                self._sent_at = now
            if data or not self._is_sent:
                return data

    def relay_to(self, send: Callable[[bytes], bool]) -> None:
        """Send plain frames with a function that does not wait, and returns whether it sent all."""
        self._send = send
        self._batches.relay = self._relay

    def _relay(self) -> bool:
        """Send the plain frames that have arrived. Return False for `next` to return."""
        batch = self._batches.next_plain()
        if batch is None:
            return False
        if batch.texts:
            assert self._send is not None
            self._sent_at = time.monotonic()
            self._is_sent = self._send(self._encoder.feed_plain(batch))
        return self._is_sent

    def close(self) -> None:
        self._batches.relay = None  # it refers to this stream: a cycle would keep both until the next collection
        self._batches.close()


class EventStreamResponse(StreamingHttpResponse):
    """Send encoded events, and close the stream when the response closes."""

    def __init__(self, batches: Batches, *, encoder: EventEncoder, headers: dict[str, str] | None = None) -> None:
        self._stream = EncodedStream(batches, encoder=encoder)
        super().__init__(self._stream, content_type="text/event-stream; charset=utf-8", headers=headers)
        self.headers["Cache-Control"] = "no-cache"
        self.headers["X-Accel-Buffering"] = "no"

    def __iter__(self) -> Iterable[bytes]:  # type: ignore[override]
        # Django's own iterator is a `map` that converts bytes to bytes: one function call more for each chunk.
        return self._stream

    def close(self) -> None:
        # The stream first: the base class suppresses errors of its closers, and then ends the HTTP request.
        try:
            self._stream.close()
        finally:
            super().close()
