"""HTTP exchanges with upstreams: connect, send, read, enforce timeouts, map errors. No other module connects to them.

requests is used through an adapter of the gateway's own (`http_adapter.py`) and a prepared request, without a Session:
with `trust_env` a Session takes 0.5 ms more and replaces the Authorization header by the machine's `.netrc`. The
environment does not change what is sent, redirects are not followed, and cookies are not kept.
"""

import contextlib
import math
import time
from collections import OrderedDict
from collections.abc import Mapping

import requests

from lib import failure_reasons as reasons
from messages_api.backend.connection_errors import connection_reason
from messages_api.backend.endpoint import Endpoint
from messages_api.backend.exchange_state import ExchangeState
from messages_api.backend.http_adapter import HttpAdapter
from messages_api.backend.http_messages import ExchangeRequest, ExchangeResponse
from messages_api.backend.response_body import ResponseBody
from messages_api.backend.upstream_error import Aborted, RetryScope, UpstreamError

MAX_RESPONSE_BYTES = 64 * 1024 * 1024
MAX_ADAPTERS = 256
MIN_TIMEOUT_S = 0.01
LAST_CHUNK_TIMEOUT_S = 0.02  # between the last event of a response and the end of its body
NEVER = math.inf

_CONNECTION_FAILED = "The connection to the upstream failed."
_TIMED_OUT = "The upstream did not respond in time."
_INVALID_RESPONSE = "The upstream's response is incomplete or invalid."


class Exchange:
    """One HTTP exchange with an upstream. Another thread may abort it at any time. `close()` must be called."""

    def __init__(self, endpoint: Endpoint, *, total_expires_at: float = NEVER) -> None:
        self.endpoint = endpoint
        self._timeouts = endpoint.timeouts
        self._state = ExchangeState(
            first_byte_timeout_s=self._timeouts.first_byte_timeout_s,
            total_expires_at=min(total_expires_at, time.monotonic() + self._timeouts.request_timeout_s),
        )
        self._body: ResponseBody | None = None
        self._is_progressing = False
        self.response_status: int | None = None
        self.response_headers: Mapping[str, str] = {}
        self._pieces: list[bytes] = []
        self.sent_at: float | None = None
        """When the request was sent to the upstream, as a monotonic time; None before."""
        self.responded_at: float | None = None
        """When the first event, or all of a complete response, had arrived."""

    @property
    def may_be_billed(self) -> bool:
        """Whether the request may have reached the upstream, and was not rejected."""
        was_rejected = self.response_status is not None and 300 <= self.response_status < 600
        return self._state.was_sent and not was_rejected

    @property
    def is_abandoned(self) -> bool:
        """Whether the request may have reached the upstream, and no response has begun."""
        return self._state.was_sent and self.response_status is None

    # ---- timeouts

    @property
    def expires_at(self) -> float:
        """The monotonic time at which this exchange has timed out."""
        return self._state.expires_at

    def progress(self) -> None:
        """Restart the idle timeout: an event or a piece of a complete response arrived."""
        self._is_progressing = True
        self._state.phase_expires_at = time.monotonic() + self._timeouts.idle_timeout_s

    def step(self) -> None:
        """Give other streams a turn during long work with the response."""
        self._state.turn.step()

    def end_within(self, seconds: float) -> None:
        """Limit the rest of the exchange to `seconds`."""
        self._state.total_expires_at = min(self._state.total_expires_at, time.monotonic() + seconds)

    def expire(self) -> None:
        """Abort the exchange because it timed out."""
        self.abort(self._timeout())

    def abort(self, error: Exception | None = None) -> None:
        """Abort the exchange from another thread. Its reader gets `error` (an Aborted by default) immediately."""
        self._state.abort(error or Aborted())

    # ---- the exchange

    def open(self, path: str, body: bytes | None, headers: dict[str, str]) -> None:
        """Send a POST, or a GET without a body, and wait for the head of the response; then its status is known.

        Raise UpstreamError if none arrives, for a redirect, and for an encoded body: the request asks for identity.
        """
        length = {} if body is None else {"Content-Length": str(len(body))}
        request = ExchangeRequest(
            self._state,
            method="GET" if body is None else "POST",
            url=self.endpoint.url(path),
            headers={**headers, "Accept-Encoding": "identity", **length},
            body=body,
        )
        self.sent_at = time.monotonic()
        self._state.phase_expires_at = (
            self.sent_at + self._timeouts.connect_timeout_s + self._timeouts.first_byte_timeout_s
        )
        response = self._send(request)
        self._body = response.raw
        self._body.is_joining = False
        self.response_status = response.status_code
        self.response_headers = response.headers
        if self.response_status in range(300, 400):
            reason = reasons.numbered(reasons.HTTP_STATUS, self.response_status)
            raise UpstreamError(_INVALID_RESPONSE, reason=reason)
        if self.response_headers.get("content-encoding", "identity") != "identity":
            raise self._encoded()

    def _encoded(self) -> UpstreamError:
        """Return the error of an encoded body. One of a 200 was generated, unless it is a page of a proxy."""
        error = UpstreamError(_INVALID_RESPONSE)
        is_page = "html" in self.response_headers.get("content-type", "").lower()
        is_billed = self.response_status == 200 and not is_page and self.endpoint.profile.bills_unreadable
        return error.as_billed() if is_billed else error

    def _send(self, request: ExchangeRequest) -> ExchangeResponse:
        remaining_s = max(MIN_TIMEOUT_S, self._state.total_expires_at - time.monotonic())
        timeout = (min(self._timeouts.connect_timeout_s, remaining_s), self._timeouts.first_byte_timeout_s)
        adapter = _adapter(self.endpoint.name, self.endpoint.base_url)
        try:
            return adapter.send(request, stream=True, timeout=timeout, verify=self.endpoint.ca_file or True)
        except FOREIGN as error:
            raise self._mapped(error) from error

    def read(self, *, wait_s: float) -> bytes | None:
        """Return the next bytes of the response, `b""` at its end, or None if none arrive within `wait_s` seconds."""
        assert self._body is not None
        expires_at, until = self._state.expires_at, time.monotonic() + wait_s
        try:
            piece = self._body.receive(until=min(until, expires_at))
        except FOREIGN as error:
            raise self._mapped(error) from error
        if piece is None:
            if until < expires_at:
                return None
            raise self._state.abort_error or self._timeout()
        if not piece and self._state.abort_error is not None:
            raise self._state.abort_error
        return piece

    def _timeout(self) -> UpstreamError:
        """Return the error of the timeout that passes first."""
        if self._state.total_expires_at < self._state.phase_expires_at:
            reason = reasons.numbered(reasons.REQUEST_TIMEOUT, self._timeouts.request_timeout_s)
        elif self._is_progressing:
            reason = reasons.numbered(reasons.IDLE_TIMEOUT, self._timeouts.idle_timeout_s)
        else:
            reason = reasons.numbered(reasons.FIRST_BYTE_TIMEOUT, self._timeouts.first_byte_timeout_s)
        return UpstreamError(_TIMED_OUT, status=504, type="timeout_error", retry_scope=RetryScope.NONE, reason=reason)

    def join_chunks(self) -> None:
        """Read what has arrived as a whole from now on, not chunk by chunk."""
        if self._body is not None:
            self._body.is_joining = True

    def read_all(self) -> bytes:
        """Return the complete response. Raise UpstreamError if it is incomplete, too slow or larger than 64 MiB."""
        self.join_chunks()
        pieces = self._pieces
        size = 0
        while piece := self.read(wait_s=NEVER):
            self.progress()
            pieces.append(piece)
            size += len(piece)
            if size > MAX_RESPONSE_BYTES:
                raise UpstreamError(_INVALID_RESPONSE, reason=reasons.RESPONSE_TOO_LARGE)
        self._pieces = []
        self.responded_at = time.monotonic()
        return b"".join(pieces)

    @property
    def incomplete_body(self) -> bytes:
        """What `read_all` read before it failed."""
        return b"".join(self._pieces)

    def close(self) -> None:
        """Return the connection to the pool if the response was read completely, else close it. May be repeated."""
        body, self._body = self._body, None
        if body is None:
            return
        if not body.is_complete and self._state.abort_error is None:
            with contextlib.suppress(requests.RequestException):
                body.receive(until=time.monotonic() + LAST_CHUNK_TIMEOUT_S)
        body.close()

    def _mapped(self, error: Exception) -> Exception:
        """Return the error of the gateway for one of the client: that of an abort, or an UpstreamError."""
        if self._state.abort_error is not None:
            return self._state.abort_error  # shutting the connection down under a reader causes many errors
        if not self._state.was_sent:
            # Timeouts too: nothing can have been billed.
            return UpstreamError(_CONNECTION_FAILED, reason=self._connection_reason(error))
        return self._mapped_error(error)

    def _mapped_error(self, error: Exception) -> UpstreamError:
        """Return the UpstreamError for an error of requests: by its class, never by its text."""
        if isinstance(error, requests.exceptions.ConnectTimeout):
            # Nothing was sent: a retry cannot be billed twice.
            return UpstreamError(_CONNECTION_FAILED, reason=self._connection_reason(error))
        if isinstance(error, TIMEOUTS):
            return self._timeout()
        is_invalid = isinstance(error, INVALID_RESPONSES)
        if self.response_status is not None:
            reason = reasons.RESPONSE_CUT
        else:
            reason = reasons.RESPONSE_INVALID if is_invalid else connection_reason(error)
        return UpstreamError(_INVALID_RESPONSE if is_invalid else _CONNECTION_FAILED, reason=reason)

    def _connection_reason(self, error: Exception) -> str:
        """Return the reason why no connection was opened."""
        if isinstance(error, requests.exceptions.ConnectTimeout):
            return reasons.numbered(reasons.CONNECT_TIMEOUT, self._timeouts.connect_timeout_s)
        return connection_reason(error)


FOREIGN = (requests.RequestException, OSError)
TIMEOUTS = (requests.exceptions.Timeout, TimeoutError)
INVALID_RESPONSES = (
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
    requests.exceptions.InvalidHeader,
)


_adapters: "OrderedDict[tuple[str, str], HttpAdapter]" = OrderedDict()


def _adapter(name: str, base_url: str) -> HttpAdapter:
    """Return the adapter of one endpoint, with its connections. A changed base URL gets one of its own."""
    key = (name, base_url)
    adapter = _adapters.get(key)
    if adapter is None:
        adapter = _adapters.setdefault(key, HttpAdapter())
        if len(_adapters) > MAX_ADAPTERS:
            _adapters.popitem(last=False)[1].close()
    return adapter
