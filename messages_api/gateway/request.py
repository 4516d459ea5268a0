"""One call: let in → attempt → observe → settle. What was let in is settled here, exactly once."""

import logging
import os
import re
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial

from django.conf import settings

from keys.access.snapshots import Snapshot
from keys.limits import limiter
from keys.usage import ledger
from keys.usage.rows import Admission, Settlement, Status
from lib.background import Background
from messages_api.backend import adapters
from messages_api.backend.attempt import Attempt, UpstreamResponse
from messages_api.backend.event_source import EventBatch, EventSource
from messages_api.backend.protocol.usage import Usage
from messages_api.backend.reported_usage import ReportedUsage
from messages_api.backend.upstream_error import Aborted, RetryScope, UpstreamError
from messages_api.gateway import detached
from messages_api.gateway.admission import RESTARTING, AdmissionControl
from messages_api.gateway.attempts import Attempts
from messages_api.gateway.detached import DetachedSlot
from messages_api.gateway.observer import Observer
from messages_api.gateway.stream import Stream
from messages_api.intake.body import Body
from messages_api.intake.client import ClientInfo
from messages_api.routing.circuit_registry import circuit_breakers
from messages_api.watcher import watcher

logger = logging.getLogger(__name__)

HEADER_SAFE = re.compile(r"[A-Za-z0-9_./:@-]{1,320}")  # the names of fields are the caller's, those of models too
MAX_DROPPED = 32
LAST_WORD_S = 1.0  # how long a caller may take to read, once the process is about to end
REVOKED = "The API key was revoked."


class InFlightRequest:
    """A call of one caller, from admit to settle."""

    def __init__(self, body: Body, *, key: Snapshot, caller: ClientInfo, api_format: str) -> None:
        self._body = body
        self._key = key
        self._caller = caller
        self._lane = api_format
        self._observer = Observer()
        self._figures: Callable[[], ReportedUsage] = ReportedUsage
        self._entry = AdmissionControl(body, key=key, caller=caller, api_format=api_format)
        self._admission: Admission | None = None
        self._attempts: Attempts | None = None
        self._ending: str | None = None
        """How the caller ended it, if it was the caller."""
        self._error: BaseException | None = None
        self._reading_on: DetachedSlot | None = None
        """Set once the caller has left and the rest of the answer is read for its usage."""
        self._is_cut = False
        self._lock = threading.Lock()
        self.writing_since: float | None = None
        """Since when the server has been writing to the caller, while it does."""

    # ---- the two ways through

    def complete(self) -> UpstreamResponse:
        """The whole answer. Raise Refused, RequestError or UpstreamError with what the caller is to be told."""
        attempts = self._let_in()
        try:
            answer = attempts.run(adapters.message)
            self._figures = lambda: answer.reported_usage
            self._observer.see_message(answer.message, is_counted=answer.reported_usage.is_final)
            return answer if answer.reported_usage.is_final else self._with_estimates(answer)
        except Exception as error:  # whatever it is, the row says how the call ended
            self._error = error
            raise
        finally:
            attempts.close()
            self.settle()

    def _with_estimates(self, answer: UpstreamResponse) -> UpstreamResponse:
        """The counts that the upstream did not give, as the row has them: 0 would confuse whoever counts on them."""
        message = answer.message
        return replace(
            answer, message={**message, "usage": {**message["usage"], **self._usage()[0].anthropic()}}, raw=None
        )

    def stream(self) -> "Stream":
        """Begin a stream. Returns with its first event in hand, or after `HEARTBEAT_S` of silence.

        Until then failures raise. Whoever gets the Stream closes it: that settles the call.
        """
        attempts = self._let_in()
        stream = Stream(self, Background(lambda: self._open(attempts)))
        try:
            stream.open()
        except BaseException as error:
            self._error = error
            stream.close()
            raise
        return stream

    def _open(self, attempts: Attempts) -> EventSource:
        source = attempts.run(adapters.events)
        if self._is_cut:  # nobody waits for it any more
            source.close()
            raise Aborted
        return source

    def cut(self) -> None:
        """End what may still be going on upstream. A whole answer, whose connection may serve another, is not hurt."""
        self._is_cut = True
        if self._attempts is not None and not self._observer.is_whole:
            self._attempts.abort()

    @property
    def headers(self) -> dict[str, str]:
        """What the answer says of the limits and of the way here: what served it, and what that could not be told."""
        attempt = self._attempts.current if self._attempts is not None else None
        if attempt is None or attempt.exchange.response_status is None:
            return self._entry.grant.headers
        headers = {"x-gateway-target": header_safe(f"{attempt.target.endpoint.name}/{attempt.target.model}")}
        names = [header_safe(name) for name in attempt.dropped[:MAX_DROPPED]]
        return self._entry.grant.headers | headers | ({"x-gateway-dropped": ", ".join(names)} if names else {})

    # ---- in and out

    def _let_in(self) -> Attempts:
        """Pass the door. Only then is there a call."""
        targets, self._admission = self._entry.admit()
        begin = partial(
            Attempt,
            body=self._body,
            is_anthropic_api=self._lane == "anthropic",
            client_headers=self._caller.headers,
            is_beta=self._caller.is_beta,
            input_estimate=self._entry.input_estimate,
        )
        attempts = self._attempts = Attempts(targets, circuit_breakers=circuit_breakers, begin=begin)
        watcher.add(self)
        return attempts

    def observe(self, source: EventSource, batch: EventBatch) -> None:
        """Note what goes by."""
        self._figures = source.reported_usage
        self._observer.see(batch.events)
        if source.error is not None:
            self._error = source.error

    def note(self, error: Exception) -> None:
        """The call failed with this."""
        self._error = error

    # ---- what the watcher sees (watcher.Watched)

    def fileno(self) -> int | None:
        if self._caller.socket is None or self._ending is not None:
            return None
        fd = self._caller.socket.fileno()
        return fd if fd >= 0 else None

    def tick(self, now: float) -> None:
        attempt = self._attempts.current if self._attempts is not None else None
        if attempt is not None and now >= attempt.exchange.expires_at:
            attempt.exchange.expire()
        if self.writing_since is not None and now - self.writing_since > settings.CLIENT_SEND_TIMEOUT_S:
            self._stall()

    def on_client_disconnect(self) -> None:
        """The upstream may stop at once, unless it bills the whole answer anyway: then its usage is waited for."""
        if self._end(Status.CLIENT_CLOSED) and self._attempts is not None:
            self._reading_on = None if watcher.is_draining else detached.begin(self._attempts)
            if self._reading_on is None:
                self.cut()

    def on_stream_abandoned(self) -> bool:
        """The server closes a stream before its end, because its caller has left. Whether the rest is read on."""
        self.on_client_disconnect()
        return self._reading_on is not None

    def on_drain_timeout(self) -> None:
        if self._attempts is not None:
            self._attempts.abort(
                UpstreamError(RESTARTING, status=503, type="overloaded_error", retry_scope=RetryScope.NONE)
            )
        if self.writing_since is not None and time.monotonic() - self.writing_since > LAST_WORD_S:
            self._stall()  # it cannot be told: it does not even read what it was told before

    @property
    def key_id(self) -> int:
        return self._key.key_id

    def on_key_compromised(self) -> None:
        """The key may be in wrong hands: end the call with an error that says so. May be said more than once."""
        if self._attempts is not None:
            self._attempts.abort(
                UpstreamError(REVOKED, status=401, type="authentication_error", retry_scope=RetryScope.NONE)
            )

    def _end(self, how: str) -> bool:
        """The caller ends it, unless it has ended: whether it was this that ended it."""
        if self._ending is not None or self._error is not None or self._observer.is_whole:
            return False
        self._ending = how
        return True

    def _stall(self) -> None:
        """Cut a caller who reads nothing, which wakes the server that waits for it."""
        fd = self.fileno()
        self._end(Status.CLIENT_STALLED)
        self.cut()
        if fd is not None:
            # A twin of the socket: gevent would tell whoever waits on the socket itself that it was closed.
            with suppress(OSError), socket.socket(fileno=os.dup(fd)) as twin:
                twin.shutdown(socket.SHUT_RDWR)

    # ---- the end

    def settle(self) -> None:
        """Close the row. The first time counts; a call that was never admitted has none."""
        with self._lock:
            admission, self._admission = self._admission, None
        if admission is None:
            return
        watcher.remove(self)
        if self._reading_on is not None:
            self._reading_on.end()
        settlement = self._settlement()
        try:
            ledger.settle(admission, settlement)
        finally:
            limiter.settle(self._entry.grant, tokens=settlement.tokens)
        if isinstance(self._error, UpstreamError):
            self._error.headers = self._entry.grant.headers | self._error.headers
        logger.info(
            "%s %s model=%s key=%s upstream=%s attempts=%d in=%s out=%s usage=%s ms=%s",
            admission.id,
            settlement.status,
            admission.model,
            self._key.public_id,
            settlement.upstream,
            len(settlement.attempts),
            settlement.input_tokens,
            settlement.output_tokens,
            settlement.usage_source,
            settlement.duration_ms,
        )

    def _settlement(self) -> Settlement:
        assert self._attempts is not None
        seen = self._observer
        attempt = self._attempts.current
        status = self._status()
        error = self._error if status == Status.FAILED else None
        usage, source = self._usage()
        return Settlement(
            status=status,
            http_status=self._http_status(error),
            error_type=getattr(error, "type", "api_error") if error else "",
            stop_reason=seen.stop_reason,
            upstream=attempt.target.endpoint.name if attempt else "",
            upstream_model=attempt.target.model if attempt else "",
            upstream_request_id=attempt.upstream_request_id if attempt else "",
            message_id=seen.message_id,
            attempts=self._attempts.finish(is_whole=seen.is_whole, error=error),
            input_tokens=usage.input,
            output_tokens=usage.output,
            cache_read_tokens=usage.cache_read,
            cache_write_5m_tokens=_five_minutes(usage),
            cache_write_1h_tokens=usage.cache_write_1h,
            thinking_tokens=usage.thinking,
            usage_source=source,
            ttft_ms=seen.ttft_ms,
            duration_ms=seen.duration_ms,
        )

    def _usage(self) -> tuple[Usage, str]:
        """The tokens, and where they come from."""
        attempt = self._attempts.current if self._attempts is not None else None
        return self._observer.usage(
            self._figures(),
            input_estimate=self._entry.input_estimate,
            was_asked=attempt is not None and attempt.exchange.may_be_billed,
        )

    def _http_status(self, error: BaseException | None) -> int | None:
        """What the caller was told; None if it left before it was told anything."""
        if error is not None:
            return getattr(error, "status", 500)
        return 200 if self._observer.message_id else None

    def _status(self) -> str:
        if self._ending is not None:
            return self._ending
        if self._observer.is_whole:
            return Status.COMPLETED
        return Status.CLIENT_CLOSED if self._error is None else Status.FAILED


def _five_minutes(usage: Usage) -> int | None:
    """The cache writes that are not for an hour. An upstream that tells no lifetimes writes for five minutes."""
    return None if usage.cache_write is None else usage.cache_write - (usage.cache_write_1h or 0)


def header_safe(name: str) -> str:
    return name if HEADER_SAFE.fullmatch(name) else "?"
