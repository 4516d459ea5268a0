"""Streaming response: encoded events, heartbeats, one close."""

import time
from collections.abc import Iterable, Iterator
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


class EventEncoder(Protocol):
    """Encodes events in one API format."""

    def feed(self, batch: Batch) -> bytes: ...

    def ping(self) -> bytes: ...


class Batches(Iterator[Batch], Protocol):
    def close(self) -> None: ...


class EncodedStream(Iterator[bytes]):
    """The bytes of a stream, with a ping whenever `HEARTBEAT_S` passed without data."""

    def __init__(self, batches: Batches, *, encoder: EventEncoder) -> None:
        self._batches = batches
        self._encoder = encoder
        self._sent_at = time.monotonic()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        while True:
            data = self._encoder.feed(next(self._batches))
            now = time.monotonic()
            if not data and now - self._sent_at >= settings.HEARTBEAT_S * 0.9:
                data = self._encoder.ping()
            if data:
                self._sent_at = now
                return data

    def close(self) -> None:
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
