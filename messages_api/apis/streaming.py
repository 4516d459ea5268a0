"""How a stream leaves: as the lane's encoder writes it, with heartbeats, and with one close."""

import time
from collections.abc import Iterable, Iterator
from typing import Protocol, Self

from django.conf import settings
from django.http import StreamingHttpResponse

from messages_api.backend.protocol.types import Event, Message


class Answer(Protocol):
    """A whole answer, and the bytes it came in, where those may go out as they are."""

    @property
    def message(self) -> Message: ...

    @property
    def raw(self) -> bytes | None: ...


class Batch(Protocol):
    """The events of one read, and the bytes they came in, where those may go out as they are. No event is silence."""

    @property
    def events(self) -> list[Event]: ...

    @property
    def raw(self) -> bytes | None: ...


class Encoder(Protocol):
    """Events → the lane's bytes."""

    def feed(self, batch: Batch) -> bytes: ...

    def ping(self) -> bytes: ...


class Batches(Iterator[Batch], Protocol):
    def close(self) -> None: ...


class EncodedStream(Iterator[bytes]):
    """The bytes of a stream. Whenever the caller has heard nothing for `HEARTBEAT_S`, a ping."""

    def __init__(self, batches: Batches, *, encoder: Encoder) -> None:
        self._batches = batches
        self._encoder = encoder
        self._heard_at = time.monotonic()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        while True:
            data = self._encoder.feed(next(self._batches))
            now = time.monotonic()
            if not data and now - self._heard_at >= settings.HEARTBEAT_S * 0.9:
                data = self._encoder.ping()
            if data:
                self._heard_at = now
                return data

    def close(self) -> None:
        self._batches.close()


class EventStreamResponse(StreamingHttpResponse):
    """Send events as the lane's encoder writes them, and close the call when the response closes."""

    def __init__(self, batches: Batches, *, encoder: Encoder, headers: dict[str, str] | None = None) -> None:
        self._stream = EncodedStream(batches, encoder=encoder)
        super().__init__(self._stream, content_type="text/event-stream; charset=utf-8", headers=headers)
        self.headers["Cache-Control"] = "no-cache"
        self.headers["X-Accel-Buffering"] = "no"

    def __iter__(self) -> Iterable[bytes]:  # type: ignore[override]
        # Django's own iterator is a `map`, one call more for each chunk, and it converts what is bytes already.
        return self._stream

    def close(self) -> None:
        # The call first: the base class swallows the errors of closers, and then ends the HTTP request.
        try:
            self._stream.close()
        finally:
            super().close()
