"""In-flight request: admission, attempts, observation and one settlement."""

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

from keys.usage import ledger
from keys.usage.rows import Admission, Settlement, Status
from lib import failure_reasons as reasons
from messages_api.backend import adapters
from messages_api.backend.attempt import Attempt, UpstreamResponse
from messages_api.backend.event_source import EventBatch, EventSource
from messages_api.backend.protocol.usage import ReportedUsage, Usage
from messages_api.backend.upstream_error import Aborted, RetryScope, UpstreamError
from messages_api.gateway import detached
from messages_api.gateway.admission import RESTARTING, AdmissionControl
from messages_api.gateway.attempts import Attempts
from messages_api.gateway.observer import ESTIMATED, NONE, Observer
from messages_api.gateway.served_columns import served_columns, with_asked_lifetime
from messages_api.routing.redis_circuits import circuit_breakers
from messages_api.watcher import disconnected, watcher

logger = logging.getLogger(__name__)

HEADER_SAFE = re.compile(r"[A-Za-z0-9_./:@-]{1,320}")  # names of fields and models come from the client
MAX_DROPPED = 32
DRAIN_WRITE_TIMEOUT_S = 1.0  # for a client that does not read, once the process is shutting down
REVOKED = "The API key was revoked."
_ending = threading.Lock()
"""Held for moments only, while it is decided how a request ends. One for all: to create a lock takes longer."""


class InFlightRequest:
    """One request of a client, from admission to settlement.

    `complete` returns the whole response. For a stream, `gateway.stream` calls `admit`, `open_source`, `observe` and
    `settle`. The watcher calls the `on_…` methods, from another thread.
    """

    def __init__(self, admission_control: AdmissionControl) -> None:
        self._admission_control = admission_control
        self._body = admission_control.body
        self._key = admission_control.key
        self._client = admission_control.client
        self._observer = Observer()
        self._reported_usage: Callable[[], ReportedUsage] = ReportedUsage
        self._admission: Admission | None = None
        """The admission that is not settled yet."""
        self._attempts: Attempts | None = None
        self._client_status: str | None = None
        """Status of a request that the client ended."""
        self._error: BaseException | None = None
        self._is_detached = False
        """Whether the client disconnected and the rest of the response is read for its usage."""
        self._is_aborted = False
        self._budget_headers: dict[str, str] = {}
        self.writing_since: float | None = None
        """When the server began to write to the client; None while it does not write."""
        self.first_write_at: float | None = None
        """When the first event, or the complete response, was ready to be written to the client."""

    # ---- the response

    def complete(self) -> UpstreamResponse:
        """Admit the request and return its complete response. Raise RequestRejected, RequestError or UpstreamError."""
        self.admit()
        assert self._attempts is not None
        try:
            response = self._attempts.run(adapters.message)
            reported_usage = response.reported_usage
            self._reported_usage = lambda: reported_usage
            is_counted = reported_usage.is_final
            self._observer.observe_message(response.message, is_counted=is_counted)
            response = response if is_counted else self._with_estimates(response)
            self.first_write_at = time.monotonic()
            return response
        except Exception as error:  # of any kind: the usage record must say how the request ended
            self._error = error
            raise
        finally:
            self._attempts.close()
            self.settle()

    def _with_estimates(self, response: UpstreamResponse) -> UpstreamResponse:
        """Add the counts that the upstream did not report, as the usage record has them: a 0 would mislead."""
        message = response.message
        usage = {**message["usage"], **self._counts()[0].anthropic()}
        return replace(response, message={**message, "usage": usage}, raw=None)

    def admit(self) -> None:
        """Pass admission control; from then on the request must be settled. Raise RequestRejected or RequestError."""
        targets, self._admission = self._admission_control.admit()
        self._budget_headers = self._admission.headers
        begin = partial(
            Attempt,
            body=self._body,
            is_anthropic_api=self._admission_control.api_format == "anthropic",
            client_headers=self._client.headers,
            is_beta=self._client.is_beta,
            input_estimate=self._admission_control.input_estimate,
        )
        self._attempts = Attempts(
            targets,
            circuit_breakers=circuit_breakers,
            key_id=self._key.key_id,
            request_id=self._client.request_id,
            begin=begin,
        )
        watcher.add(self)
        # Before the first attempt: the watcher looks up to 100 ms later, when the upstream has been contacted.
        if (fd := self.fileno()) is not None and disconnected([fd]):
            self.on_client_disconnect()

    def open_source(self) -> EventSource:
        """Send the request and wait for the first event. Raise UpstreamError, or Aborted after `abort_upstream`."""
        assert self._attempts is not None
        source = self._attempts.run(adapters.events)
        if self._is_aborted:  # no reader is left that would close it
            source.close()
            raise Aborted
        return source

    def observe(self, source: EventSource, batch: EventBatch) -> None:
        """Observe the events that were read."""
        self._reported_usage = source.reported_usage
        self._observer.observe_events(batch.events)
        if source.is_ended and (error := source.error) is not None:
            self._error = error

    def record_error(self, error: BaseException) -> None:
        """Record the error that ended the request."""
        self._error = error

    def abort_upstream(self) -> None:
        """End the exchange with the upstream, unless the response is complete: its connection may serve another."""
        self._is_aborted = True
        if self._attempts is not None and not self._observer.is_complete:
            self._attempts.abort()

    @property
    def headers(self) -> dict[str, str]:
        """Response headers: rate limits, budgets, the target, and the request fields that it does not support."""
        attempt = self._attempts.current if self._attempts is not None else None
        limits = self._admission_control.grant.headers | self._budget_headers
        if attempt is None or attempt.exchange.response_status is None:
            return limits
        headers = {"x-gateway-target": _header_safe(f"{attempt.target.endpoint.name}/{attempt.target.model}")}
        headers |= self._upstream_request_id()
        if dropped := [_header_safe(name) for name in attempt.dropped[:MAX_DROPPED]]:
            headers["x-gateway-dropped"] = ", ".join(dropped)
        return limits | headers

    def _upstream_request_id(self) -> dict[str, str]:
        """Return the header with the upstream's request ID, for inquiries to its operator."""
        attempt = self._attempts.current if self._attempts is not None else None
        upstream_id = attempt.upstream_request_id if attempt is not None else ""
        return {"x-gateway-upstream-request-id": upstream_id} if upstream_id else {}

    # ---- events from the watcher (watcher.Watched)

    def fileno(self) -> int | None:
        if self._client.socket is None or self._client_status is not None:
            return None
        fd = self._client.socket.fileno()
        return fd if fd >= 0 else None

    def tick(self, now: float) -> None:
        attempt = self._attempts.current if self._attempts is not None else None
        if attempt is not None and now >= attempt.exchange.expires_at:
            attempt.exchange.expire()
        if self.writing_since is not None and now - self.writing_since > settings.CLIENT_SEND_TIMEOUT_S:
            self._disconnect_client()

    def on_client_disconnect(self) -> None:
        """Abort the upstream, or detach the request where the upstream bills the complete response anyway."""
        if not self._end_by_client(Status.CLIENT_CLOSED) or self._attempts is None:
            return
        with _ending:
            is_open = self._admission is not None
            may_continue = is_open and self._attempts.current is not None and not watcher.is_draining
            self._is_detached = may_continue and detached.try_detach(self._attempts)
        if not self._is_detached:
            self.abort_upstream()

    def on_stream_abandoned(self) -> bool:
        """Handle a stream that is closed before its end. Return whether the request is detached."""
        self.on_client_disconnect()
        return self._is_detached

    def on_drain_timeout(self) -> None:
        self._end_with(RESTARTING, status=503, type="overloaded_error", reason=reasons.GATEWAY_RESTARTING)
        if self.writing_since is not None and time.monotonic() - self.writing_since > DRAIN_WRITE_TIMEOUT_S:
            self._disconnect_client()  # an error event would not reach it either

    def on_key_compromised(self) -> None:
        """End the request with a 401 or an error event. May be called more than once."""
        self._end_with(REVOKED, status=401, type="authentication_error", reason=reasons.KEY_REVOKED)

    def _end_with(self, message: str, *, status: int, type: str, reason: str) -> None:
        """End the attempts with an error of the gateway, which is not tried again."""
        if self._attempts is not None:
            self._attempts.abort(
                UpstreamError(message, status=status, type=type, retry_scope=RetryScope.NONE, reason=reason)
            )

    @property
    def request_id(self) -> str:
        return self._client.request_id

    @property
    def key_id(self) -> int:
        return self._key.key_id

    def _end_by_client(self, status: str) -> bool:
        """Record that the client ended the request. Return False if it has ended already."""
        if self._client_status is not None or self._error is not None or self._observer.is_complete:
            return False
        self._client_status = status
        return True

    def _disconnect_client(self) -> None:
        """Disconnect a client that does not read, which wakes the server that waits to write."""
        fd = self.fileno()
        self._end_by_client(Status.CLIENT_STALLED)
        self.abort_upstream()
        if fd is not None:
            # A duplicate of the socket: gevent would report to the writer that waits on the socket that it was closed.
            with suppress(OSError), socket.socket(fileno=os.dup(fd)) as duplicate:
                duplicate.shutdown(socket.SHUT_RDWR)

    # ---- settlement

    def settle(self) -> None:
        """Write the settlement to the ledger, once. Does nothing for a request that was not admitted."""
        with _ending:
            admission, self._admission = self._admission, None
        if admission is None:
            return
        watcher.remove(self)
        if self._is_detached:
            detached.release_slot()
        settlement = self._settlement()
        try:
            ledger.settle(admission, settlement)
        finally:
            self._admission_control.settle(tokens=settlement.tokens)
        if isinstance(self._error, UpstreamError):
            limits = self._admission_control.grant.headers
            self._error.headers = limits | self._upstream_request_id() | self._error.headers
        logger.info(
            "%s %s reason=%s model=%s key=%s upstream=%s attempts=%d in=%s out=%s usage=%s ms=%s",
            admission.id,
            settlement.status,
            settlement.error_reason or "-",
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
        observer = self._observer
        attempt = self._attempts.current
        status = self._status()
        error = self._error if status == Status.FAILED else None
        counts, source = self._counts()
        usage = attempt.served.billed(counts) if attempt is not None else counts
        reason = self._reason(error, usage)
        return Settlement(
            status=status,
            http_status=self._http_status(error),
            error_type=getattr(error, "type", "api_error") if error else "",
            error_reason=reason,
            stop_reason=observer.stop_reason,
            upstream=attempt.target.endpoint.name if attempt else "",
            upstream_model=attempt.target.model if attempt else "",
            upstream_request_id=attempt.upstream_request_id if attempt else "",
            message_id=observer.message_id,
            attempts=self._attempts.finish(is_complete=observer.is_complete, error=error),
            input_tokens=usage.input,
            output_tokens=usage.output,
            cache_read_tokens=usage.cache_read,
            cache_write_5m_tokens=_cache_write_5m(usage),
            cache_write_1h_tokens=usage.cache_write_1h,
            thinking_tokens=usage.thinking,
            usage_source=source,
            ttft_ms=observer.ttft_ms,
            duration_ms=observer.duration_ms,
            added_us=self._added_us(),
            **(served_columns(attempt, counts) if attempt is not None and source != NONE else {}),
        )

    def _added_us(self) -> int | None:
        """Return the microseconds that the gateway itself added to the time to the first byte; None if it sent nothing.

        From the arrival of the request to its first attempt, without the upload of the body, and from the first event
        of the upstream to the first write. Retries are the upstream's time.
        """
        first = self._attempts.first if self._attempts is not None else None
        if first is None or first.exchange.sent_at is None or self._attempts is None:
            return None
        added_s = first.exchange.sent_at - self._client.arrived_at - self._body.upload_s
        current = self._attempts.current
        responded_at = current.exchange.responded_at if current is not None else None
        if responded_at is not None and self.first_write_at is not None:
            added_s += self.first_write_at - responded_at
        return max(0, round(added_s * 1_000_000))

    def _reason(self, error: BaseException | None, usage: Usage) -> str:
        """Return the reason of a failure. A stream that was cut gets its tokens, here and in its attempt."""
        if error is None:
            return ""
        if not isinstance(error, UpstreamError):
            return reasons.GATEWAY_DEFECT
        if error.reason == reasons.RESPONSE_CUT and self._observer.message_id:
            error.reason = reasons.numbered(reasons.RESPONSE_CUT, usage.output or 0)
        return error.reason

    def _counts(self) -> tuple[Usage, str]:
        """Return the counts of the response, completed by estimates, and their usage source."""
        attempt = self._attempts.current if self._attempts is not None else None
        reported = self._reported_usage()
        if reported.usage is None and attempt is not None:  # it failed, such as an invalid message with usage
            reported = ReportedUsage.of(attempt.reported_usage(), is_final=False)
        usage, source = self._observer.usage(
            reported,
            request=self._body.request,
            input_estimate=self._admission_control.input_estimate,
            was_sent=attempt is not None and attempt.exchange.may_be_billed,
        )
        if attempt is None or source == NONE:
            return usage, source
        if attempt.served.has_redeemed_credit:
            source = ESTIMATED  # which tokens it made cheaper is not reported
        return with_asked_lifetime(usage, attempt, cache_ttl=self._admission_control.cache_ttl), source

    def _http_status(self, error: BaseException | None) -> int | None:
        """Return the status that the client received; None if it disconnected before."""
        if error is not None:
            return getattr(error, "status", 500)
        return 200 if self._observer.message_id else None

    def _status(self) -> str:
        if self._client_status is not None:
            return self._client_status
        if self._observer.is_complete:
            return Status.COMPLETED
        return Status.CLIENT_CLOSED if self._error is None else Status.FAILED


def _cache_write_5m(usage: Usage) -> int | None:
    """Return the cache writes with the default lifetime. An upstream that reports no lifetimes uses five minutes."""
    return None if usage.cache_write is None else usage.cache_write - (usage.cache_write_1h or 0)


def _header_safe(name: str) -> str:
    return name if HEADER_SAFE.fullmatch(name) else "?"
