"""Stream of one request: batches of events as they arrive, empty batches as heartbeats, one close."""

import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from threading import TIMEOUT_MAX
from typing import Protocol, Self

from django.conf import settings

from lib.threads import Background
from messages_api.backend.event_source import EventBatch, EventSource
from messages_api.backend.exchange import NEVER
from messages_api.backend.upstream_error import Aborted, UpstreamError

logger = logging.getLogger(__name__)

HEARTBEAT = EventBatch(events=[])


class StreamedRequest(Protocol):
    """The in-flight request below a stream. It never calls the stream."""

    writing_since: float | None
    """When the server began to write to the client; None while it waits for the stream."""
    first_write_at: float | None
    """When the first event was given to the server to write."""

    @property
    def request_id(self) -> str: ...

    def admit(self) -> None:
        """Admit the request. Raise RequestRejected or RequestError."""

    def open_source(self) -> EventSource:
        """Send the request and wait for the first event. Raise UpstreamError, or Aborted after `abort_upstream`."""

    def observe(self, source: EventSource, batch: EventBatch) -> None:
        """Observe the events that were read."""

    def record_error(self, error: BaseException) -> None:
        """Record the error that ended the request."""

    def on_stream_abandoned(self) -> bool:
        """Handle a stream that is closed before its end. Return whether it is to be read to the end all the same."""

    def abort_upstream(self) -> None:
        """End the exchange with the upstream, unless the response is complete."""

    def settle(self) -> None:
        """Settle the request. May be called more than once."""


def open_stream(request: StreamedRequest) -> "Stream":
    """Admit a request and return its stream with the first event, or after `HEARTBEAT_S` without one.

    Raise RequestRejected, RequestError or UpstreamError until then. The stream must be closed, which settles the
    request.
    """
    request.admit()
    stream = Stream(request)
    try:
        stream.open()
    except BaseException as error:
        request.record_error(error)
        stream.close()
        raise
    return stream


class Stream(Iterator[EventBatch]):
    """An iterator with `close()`. It is a class because a generator that never started does not run its `finally`.

    Errors after the first byte are error events, not exceptions, and end the stream. After `HEARTBEAT_S` without data
    from the upstream the batch is empty, for the API to send a ping.
    """

    def __init__(self, request: StreamedRequest) -> None:
        self._request = request
        self._opening = Background(request.open_source)
        self._source: EventSource | None = None
        self._first: EventBatch | None = None
        self._is_ended = False
        self._is_closed = False

    def open(self) -> None:
        """Wait for the first event, at most `HEARTBEAT_S`. Raise errors, which can still become an HTTP status."""
        if self._opening.wait(settings.HEARTBEAT_S):
            self._start(self._opening.result())

    def _start(self, source: EventSource) -> None:
        self._source = source
        self._first = source.first
        self._request.observe(source, source.first)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> EventBatch:
        self._request.writing_since = None
        try:
            return self._next()
        finally:
            self._request.writing_since = time.monotonic()

    def _next(self) -> EventBatch:
        if self._is_ended:
            raise StopIteration
        try:
            batch = self._read()
        except Aborted:
            self._is_ended = True
            raise StopIteration from None
        except UpstreamError as error:
            return self._fail(error)
        except Exception as error:  # a defect of the gateway: the client must learn that the response is incomplete
            logger.exception("%s unhandled error while streaming", self._request.request_id)
            return self._fail(error)
        if self._source is not None and self._source.is_ended:
            self._is_ended = True
            self._request.settle()  # before it is sent: a client that has the end finds the request in the ledger
        return batch

    def _read(self) -> EventBatch:
        if self._source is None:
            if not self._opening.wait(settings.HEARTBEAT_S):
                return HEARTBEAT
            self._start(self._opening.result())
        assert self._source is not None
        if self._first is not None:
            first, self._first = self._first, None
            self._request.first_write_at = time.monotonic()
            return first
        batch = self._source.read(wait_s=settings.HEARTBEAT_S)
        self._request.observe(self._source, batch)
        return batch

    def _fail(self, error: Exception) -> EventBatch:
        self._is_ended = True
        self._request.record_error(error)
        self._request.settle()
        type = getattr(error, "type", "api_error")
        message = getattr(error, "message", "Internal gateway error.")
        return EventBatch(events=[{"type": "error", "error": {"type": type, "message": message}}])

    def close(self) -> None:
        """Close the upstream and settle the request; a detached request first reads the rest. May be called twice."""
        if self._is_closed:
            return
        self._is_closed = self._is_ended = True
        if self._request.on_stream_abandoned():
            Background(self._read_detached)
        else:
            self._end()

    def _read_detached(self) -> None:
        """Read the rest for its usage. The deadline of the exchange bounds it."""
        try:
            if self._source is None:
                self._opening.wait(TIMEOUT_MAX)
                self._start(self._opening.result())
            assert self._source is not None
            while not self._source.is_ended:
                self._request.observe(self._source, self._source.read(wait_s=NEVER))
        except (UpstreamError, Aborted) as error:
            reason = getattr(error, "reason", type(error).__name__)
            logger.info("%s detached request ended early: %s", self._request.request_id, reason)
        finally:
            self._end()

    def _end(self) -> None:
        try:
            self._request.abort_upstream()
            if self._source is None and self._opening.wait(0):
                with suppress(UpstreamError, Aborted):  # a source that failed to open is closed already
                    self._source = self._opening.result()
            if self._source is not None:
                self._source.close()
        finally:
            self._request.settle()
