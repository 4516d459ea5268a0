"""A stream on its way to a caller: batches of events as they come, silence as empty batches, one close."""

import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from threading import TIMEOUT_MAX
from typing import TYPE_CHECKING, Self

from django.conf import settings

from lib.background import Background
from messages_api.backend.event_source import EventBatch, EventSource
from messages_api.backend.exchange import NEVER
from messages_api.backend.upstream_error import Aborted, UpstreamError

if TYPE_CHECKING:
    from messages_api.gateway.request import InFlightRequest

logger = logging.getLogger(__name__)

SILENCE = EventBatch(events=[])


class Stream(Iterator[EventBatch]):
    """An iterator with `close()`, and a class for that: a generator that never started does not run its `finally`.

    Failures after the first byte are error events, not exceptions; nothing follows them. After `HEARTBEAT_S` without a
    word from the upstream there is an empty batch, for the lane to send a ping.
    """

    def __init__(self, call: "InFlightRequest", opening: Background[EventSource]) -> None:
        self._call = call
        self._opening = opening
        self._source: EventSource | None = None
        self._first: EventBatch | None = None
        self._is_over = False
        self._is_closed = False

    def open(self) -> None:
        """Wait for the first event, at most `HEARTBEAT_S`. Raise what goes wrong: it can still be a status."""
        if self._opening.wait(settings.HEARTBEAT_S):
            self._take(self._opening.result())

    def _take(self, source: EventSource) -> None:
        self._source = source
        self._first = source.first
        self._call.observe(source, source.first)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> EventBatch:
        self._call.writing_since = None
        try:
            return self._next()
        finally:
            self._call.writing_since = time.monotonic()

    def _next(self) -> EventBatch:
        if self._is_over:
            raise StopIteration
        try:
            batch = self._read()
        except Aborted:
            self._is_over = True
            raise StopIteration from None
        except UpstreamError as error:
            return self._fail(error)
        except Exception as error:  # ours: the caller is told that the answer is not whole, and we are told why
            logger.exception("A stream failed in our own code")
            return self._fail(error)
        if self._source is not None and self._source.is_ended:
            self._is_over = True
            self._call.settle()  # before it is sent: who has seen the end of an answer finds it in the ledger
        return batch

    def _read(self) -> EventBatch:
        if self._source is None:
            if not self._opening.wait(settings.HEARTBEAT_S):
                return SILENCE
            self._take(self._opening.result())
        assert self._source is not None
        if self._first is not None:
            first, self._first = self._first, None
            return first
        batch = self._source.read(wait_s=settings.HEARTBEAT_S)
        self._call.observe(self._source, batch)
        return batch

    def _fail(self, error: Exception) -> EventBatch:
        self._is_over = True
        self._call.note(error)
        self._call.settle()
        type = getattr(error, "type", "api_error")
        message = getattr(error, "message", "The gateway failed.")
        return EventBatch(events=[{"type": "error", "error": {"type": type, "message": message}}])

    def close(self) -> None:
        """Close what is open upstream and settle the call, or have the rest read on first. May be called twice."""
        if self._is_closed:
            return
        self._is_closed = self._is_over = True
        if self._call.on_stream_abandoned():
            Background(self._read_on)
        else:
            self._end()

    def _read_on(self) -> None:
        """Read the rest for the sake of its usage. The exchange's deadline bounds it."""
        try:
            if self._source is None:
                self._opening.wait(TIMEOUT_MAX)
                self._take(self._opening.result())
            assert self._source is not None
            while not self._source.is_ended:
                self._call.observe(self._source, self._source.read(wait_s=NEVER))
        except (UpstreamError, Aborted) as error:
            logger.info("An answer was not read on to its end: %s", type(error).__name__)
        finally:
            self._end()

    def _end(self) -> None:
        try:
            self._call.cut()
            if self._source is None and self._opening.wait(0):
                with suppress(UpstreamError, Aborted):  # then there is nothing to close
                    self._source = self._opening.result()
            if self._source is not None:
                self._source.close()
        finally:
            self._call.settle()
