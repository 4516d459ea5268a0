"""One call: admit → route → attempt → observe → settle. What is let in here is settled here, exactly once."""

import logging
import os
import re
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from django.conf import settings
from django.db import connections

from keys import access, ledger
from keys.errors import Refused
from keys.snapshots import Snapshot
from messages_api.backend import adapters
from messages_api.backend.attempt import Answer, Attempt
from messages_api.backend.endpoint import Target
from messages_api.backend.errors import Aborted, UpstreamError
from messages_api.backend.figures import Figures
from messages_api.backend.protocol.tokens import estimate
from messages_api.backend.protocol.usage import Usage
from messages_api.backend.source import Batch, EventSource
from messages_api.background import Background
from messages_api.body import Body
from messages_api.caller import Caller
from messages_api.errors import RequestError
from messages_api.observer import Observer
from messages_api.routing import routes
from messages_api.stream import Stream
from messages_api.watcher import watcher

logger = logging.getLogger(__name__)

HEADER_SAFE = re.compile(r"[A-Za-z0-9_.-]{1,64}")  # the names of fields are the caller's
MAX_DROPPED = 32
LAST_WORD_S = 1.0  # how long a caller may take to read, once the process is about to end
RESTARTING = "The gateway is restarting; try again."


class Call:
    """A call of one caller, from admit to settle."""

    def __init__(self, body: Body, *, key: Snapshot, caller: Caller, lane: str) -> None:
        self._body = body
        self._key = key
        self._caller = caller
        self._lane = lane
        self._observer = Observer()
        self._figures: Callable[[], Figures] = Figures
        self._input_estimate = estimate(body.request)
        self._admission: ledger.Admission | None = None
        self._attempt: Attempt | None = None
        self._ending: str | None = None
        """How the caller ended it, if it was the caller."""
        self._error: BaseException | None = None
        self._is_abandoned = False
        self._lock = threading.Lock()
        self.writing_since: float | None = None
        """Since when the server has been writing to the caller, while it does."""

    # ---- the two ways through

    def complete(self) -> Answer:
        """The whole answer. Raise Refused, RequestError or UpstreamError with what the caller is to be told."""
        target = self._let_in()
        try:
            answer = adapters.for_dialect(target.endpoint.dialect).message(self._begin(target))
            self._figures = lambda: answer.figures
            self._observer.see_message(answer.message)
            return answer
        except Exception as error:  # whatever it is, the row says how the call ended
            self._error = error
            raise
        finally:
            self._close_attempt()
            self.settle()

    def stream(self) -> "Stream":
        """Begin a stream. Returns with its first event in hand, or after `HEARTBEAT_S` of silence.

        Until then failures raise. Whoever gets the Stream closes it: that settles the call.
        """
        target = self._let_in()
        stream = Stream(self, Background(lambda: self._open(target)))
        try:
            stream.open()
        except BaseException as error:
            self._error = error
            stream.close()
            raise
        return stream

    def _open(self, target: Target) -> EventSource:
        source = adapters.for_dialect(target.endpoint.dialect).events(self._begin(target))
        if self._is_abandoned:
            source.close()
            raise Aborted
        return source

    def _close_attempt(self) -> None:
        if self._attempt is not None:
            self._attempt.exchange.close()

    def abandon(self) -> None:
        """Nobody waits any more for what is still being opened."""
        self._is_abandoned = True
        if self._attempt is not None:
            self._attempt.exchange.abort()

    @property
    def headers(self) -> dict[str, str]:
        """What the answer says of the way here: what was dropped because the upstream's dialect cannot say it."""
        dropped = self._attempt.dropped if self._attempt is not None else []
        names = [name if HEADER_SAFE.fullmatch(name) else "?" for name in dropped[:MAX_DROPPED]]
        return {"x-gateway-dropped": ", ".join(names)} if names else {}

    # ---- in and out

    def _let_in(self) -> Target:
        """Pass the gate, find a target, write the row. Only then is there a call."""
        _check_open()
        model = self._body.request["model"]
        try:
            access.authorize(self._key, model=model)
            target = find_target(model, key=self._key)
        except (Refused, RequestError) as error:
            ledger.refuse(self._admission_row(lease_s=0), http_status=error.status, error_type=error.type)
            raise
        finally:
            _give_connections_back()
        admission = self._admission_row(lease_s=target.endpoint.deadlines.total_s + settings.LEASE_GRACE_S)
        ledger.admit(admission)
        self._admission = admission
        watcher.add(self)
        return target

    def _admission_row(self, *, lease_s: float) -> ledger.Admission:
        return ledger.Admission(
            id=self._caller.request_id,
            api_key_id=self._key.key_id,
            secret_id=self._key.secret_id,
            lane=self._lane,
            model=self._body.request["model"],
            streamed=self._body.request.get("stream", False),
            estimated_input_tokens=self._input_estimate,
            lease_s=lease_s,
            caller_address=self._caller.address,
            caller_request_id=self._caller.own_request_id,
            user_agent=self._caller.user_agent,
        )

    def _begin(self, target: Target) -> Attempt:
        self._attempt = Attempt(
            body=self._body,
            target=target,
            is_native=self._lane == "anthropic",
            caller_headers=self._caller.headers,
            is_beta=self._caller.is_beta,
            input_estimate=self._input_estimate,
        )
        if self._ending:
            self._attempt.exchange.abort()
        return self._attempt

    def observe(self, source: EventSource, batch: Batch) -> None:
        """Note what goes by."""
        self._figures = source.figures
        self._observer.see(batch.events)
        if source.failure is not None:
            self._error = source.failure

    def note(self, error: Exception) -> None:
        """The call failed with this."""
        self._error = error

    # ---- what the watcher sees (watcher.Watched)

    def fileno(self) -> int | None:
        if self._caller.socket is None:
            return None
        fd = self._caller.socket.fileno()
        return fd if fd >= 0 else None

    def tick(self, now: float) -> None:
        if self._attempt is not None and now >= self._attempt.exchange.expires_at:
            self._attempt.exchange.expire()
        if self.writing_since is not None and now - self.writing_since > settings.CALLER_STALL_S:
            self._stall()

    def caller_left(self) -> None:
        self._end(ledger.Status.CLIENT_CLOSED)

    def out_of_time(self) -> None:
        if self._attempt is not None:
            self._attempt.exchange.abort(UpstreamError(RESTARTING, status=503, type="overloaded_error", retry=False))
        if self.writing_since is not None and time.monotonic() - self.writing_since > LAST_WORD_S:
            self._stall()  # it cannot be told: it does not even read what it was told before

    def _end(self, how: str) -> None:
        """The caller is gone or as good as gone: let the upstream stop at once. A failure that came first stays one."""
        if self._ending is None and self._error is None:
            self._ending = how
        if self._attempt is not None:
            self._attempt.exchange.abort()

    def _stall(self) -> None:
        """Cut a caller who reads nothing, which wakes the server that waits for it."""
        self._end(ledger.Status.CLIENT_STALLED)
        if (fd := self.fileno()) is not None:
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
        settlement = self._settlement()
        ledger.settle(admission, settlement)
        logger.info(
            "%s %s model=%s key=%s upstream=%s in=%s out=%s usage=%s ms=%s",
            admission.id,
            settlement.status,
            admission.model,
            self._key.public_id,
            settlement.upstream,
            settlement.input_tokens,
            settlement.output_tokens,
            settlement.usage_source,
            settlement.duration_ms,
        )

    def _settlement(self) -> ledger.Settlement:
        seen = self._observer
        attempt = self._attempt
        status = self._status()
        error = self._error if status == ledger.Status.FAILED else None
        usage, source = seen.usage(
            self._figures(),
            input_estimate=self._input_estimate,
            was_asked=attempt is not None and attempt.exchange.may_be_billed,
        )
        return ledger.Settlement(
            status=status,
            http_status=self._http_status(error),
            error_type=getattr(error, "type", "api_error") if error else "",
            stop_reason=seen.stop_reason,
            upstream=attempt.target.endpoint.name if attempt else "",
            upstream_model=attempt.target.model if attempt else "",
            upstream_request_id=attempt.upstream_request_id if attempt else "",
            message_id=seen.message_id,
            attempts=[attempt.summary(error)] if attempt else [],
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

    def _http_status(self, error: BaseException | None) -> int | None:
        """What the caller was told; None if it left before it was told anything."""
        if error is not None:
            return getattr(error, "status", 500)
        return 200 if self._observer.message_id else None

    def _status(self) -> str:
        if self._observer.is_whole and self._ending != ledger.Status.CLIENT_STALLED:
            return ledger.Status.COMPLETED  # a caller who leaves with the last byte in hand has the whole answer
        if self._ending is None and self._error is not None:
            return ledger.Status.FAILED
        # A stream that was closed before its end was closed by the server, because the caller had left.
        return self._ending or ledger.Status.CLIENT_CLOSED


def models(*, key: Snapshot) -> list[str]:
    """The model names that a key may use: those with a route of their own, and those that its allow-list names."""
    table = routes.table()
    listed = [name for name in key.allowed_models if not name.endswith("*") and table.targets(name)]
    return sorted({name for name in table.names() if access.may_use(key, name)} | set(listed))


def count_tokens(body: Body, *, key: Snapshot, caller: Caller) -> int:
    """The input tokens of a request. Raise what a call of it would raise before it is admitted; leave no row."""
    model = body.request["model"]
    access.authorize(key, model=model)
    target = find_target(model, key=key)
    _give_connections_back()
    attempt = Attempt(
        body=body,
        target=target,
        is_native=True,
        caller_headers=caller.headers,
        is_beta=caller.is_beta,
        input_estimate=estimate(body.request),
    )
    try:
        return adapters.for_dialect(target.endpoint.dialect).count_tokens(attempt)
    finally:
        attempt.exchange.close()


def find_target(model: str, *, key: Snapshot) -> Target:
    """What answers for a model. Raise RequestError 404, which names the models that this key may use."""
    targets = routes.table().targets(model)
    if targets:
        return targets[0]
    usable = models(key=key)
    known = f"Models for this key: {', '.join(usable)}." if usable else "This key has no model to use."
    raise RequestError(
        f"The requested model is not known here. {known}", param="model", status=404, type="not_found_error"
    )


def _give_connections_back() -> None:
    """A stream that kept the connection of its key's look-up would keep a slot of the pool for minutes."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


def _check_open() -> None:
    """Raise RequestError when the process is about to end."""
    if watcher.is_draining:
        raise RequestError(RESTARTING, status=503, type="overloaded_error", headers={"Retry-After": "1"})


def _five_minutes(usage: Usage) -> int | None:
    """The cache writes that are not for an hour. An upstream that tells no lifetimes writes for five minutes."""
    return None if usage.cache_write is None else usage.cache_write - (usage.cache_write_1h or 0)
