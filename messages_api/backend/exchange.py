"""The only module that opens a connection to a model server: sends, reads, keeps the deadlines, maps the errors.

requests is used lean: one HTTPAdapter for each endpoint and a prepared request, without a Session. Measured per call:
311 µs against 812 µs for a Session with `trust_env`, which also replaces our Authorization header by the machine's
`.netrc`. Nothing in the environment changes what is sent, no redirect is followed, no cookie is kept.
"""

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.util.wait import wait_for_read

from messages_api.backend import connections
from messages_api.backend.endpoint import Endpoint
from messages_api.backend.upstream_error import Aborted, RetryScope, UpstreamError

READ_BYTES = 65_536
MAX_RESPONSE_BYTES = 64 * 1024 * 1024
POOL_SIZE = 2_000  # at least as many as calls may run in one worker: a smaller pool closes and reopens connections
SHORTEST_S = 0.01  # a client's timeout may not be 0
# What the kernel holds of an answer that its caller does not read. It would hold up to 32 MiB (net.ipv4.tcp_rmem).
RECEIVE_BUFFER_BYTES = 256 * 1024
SOCKET_OPTIONS = [
    *HTTPConnection.default_socket_options,
    (socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES),
]
LAST_CHUNK_TIMEOUT_S = 0.02  # how long the end of a body may come after the end of an answer
NEVER = float("inf")

_CONNECTION_BROKE = "The connection to the upstream failed."
_TIMED_OUT = "The upstream did not answer in time."
_INVALID_RESPONSE = "The upstream's answer broke off or could not be understood."


class Exchange:
    """One HTTP exchange with an upstream. It may be aborted from another thread at any moment; close it in any case."""

    def __init__(self, endpoint: Endpoint, *, total_expires_at: float = NEVER) -> None:
        self.endpoint = endpoint
        self._timeouts = endpoint.timeouts
        self._total_expires_at = min(total_expires_at, time.monotonic() + self._timeouts.request_timeout_s)
        self._phase_expires_at = NEVER
        self._response: requests.Response | None = None
        self._sock: socket.socket | None = None
        self._abort_error: Exception | None = None
        self._was_sent = False
        self.response_status: int | None = None
        self.response_headers: Mapping[str, str] = {}

    @property
    def may_be_billed(self) -> bool:
        """Whether the request may have reached the upstream, and was not refused."""
        return self._was_sent and self.response_status in (None, 200)

    # ---- deadlines

    @property
    def expires_at(self) -> float:
        """The monotonic moment at which this exchange is to be aborted as timed out."""
        return min(self._phase_expires_at, self._total_expires_at)

    def progress(self) -> None:
        """An event came, or a piece of a whole answer: the silence begins anew. Bytes of a stream are no progress."""
        self._phase_expires_at = time.monotonic() + self._timeouts.idle_timeout_s

    def end_within(self, seconds: float) -> None:
        """Leave so much time, and no more, whatever the deadlines were."""
        self._total_expires_at = min(self._total_expires_at, time.monotonic() + seconds)

    def expire(self) -> None:
        """End the exchange because its deadline has passed."""
        self.abort(_timeout())

    def abort(self, error: Exception | None = None) -> None:
        """End the exchange from outside: whoever reads from it gets `error` (an Aborted by default), at once."""
        if self._abort_error is None:
            self._abort_error = error or Aborted()
        self._shutdown()

    def attach(self, sock: socket.socket | None) -> None:
        """The connection's socket, as soon as there is one."""
        self._sock = sock
        if self._abort_error is not None:
            raise self._abort_error
        self._phase_expires_at = time.monotonic() + self._timeouts.first_byte_timeout_s
        self._was_sent = True

    def _shutdown(self) -> None:
        # Unlike close, shutdown wakes a reader, in another greenlet as well as in another thread.
        if self._sock is not None:
            with contextlib.suppress(OSError, ValueError):
                self._sock.shutdown(socket.SHUT_RDWR)

    # ---- the exchange

    def open(self, path: str, body: bytes, headers: dict[str, str]) -> None:
        """Send a POST and wait for the head of the answer; status and headers are then known.

        Raise UpstreamError when there is none, when it redirects, or when it is encoded although we asked for identity.
        """
        prepared = requests.PreparedRequest()
        prepared.prepare_method("POST")
        prepared.url = self.endpoint.url(path)
        prepared.headers = requests.structures.CaseInsensitiveDict(
            {**headers, "Accept-Encoding": "identity", "Content-Length": str(len(body))}
        )
        prepared.body = body
        self._phase_expires_at = (
            time.monotonic() + self._timeouts.connect_timeout_s + self._timeouts.first_byte_timeout_s
        )
        with self._mapped():
            self._response = self._send(prepared)
        self.response_status = self._response.status_code
        self.response_headers = self._response.headers
        if (
            self.response_status in range(300, 400)
            or self.response_headers.get("content-encoding", "identity") != "identity"
        ):
            raise UpstreamError(_INVALID_RESPONSE)

    def _send(self, prepared: requests.PreparedRequest) -> requests.Response:
        left_s = max(SHORTEST_S, self._total_expires_at - time.monotonic())
        timeout = (min(self._timeouts.connect_timeout_s, left_s), self._timeouts.first_byte_timeout_s)
        connections.using.exchange = self
        try:
            return _adapter(self.endpoint.name, self.endpoint.base_url).send(
                prepared, stream=True, timeout=timeout, verify=self.endpoint.ca_file or True
            )
        finally:
            connections.using.exchange = None

    def read(self, *, wait_s: float) -> bytes | None:
        """The next bytes of the answer, `b""` at its end, or None if none came for `wait_s` seconds."""
        assert self._response is not None
        raw = self._response.raw
        with self._mapped():
            if not self._is_ready(raw) and not self._wait(wait_s):
                return None
            piece: bytes = raw.read1(READ_BYTES)
        if not piece and self._abort_error is not None:
            raise self._abort_error
        return piece

    def _wait(self, wait_s: float) -> bool:
        """Whether the answer goes on within `wait_s`. Raise when a deadline passes meanwhile."""
        assert self._sock is not None
        left_s = self.expires_at - time.monotonic()
        if wait_for_read(self._sock, max(0.0, min(wait_s, left_s))):
            return True
        if left_s <= wait_s:
            raise _timeout()
        return False

    def read_all(self) -> bytes:
        """The whole answer, at most 64 MiB. Raise UpstreamError when it is larger, broken or too slow."""
        pieces: list[bytes] = []
        size = 0
        while piece := self.read(wait_s=NEVER):
            self.progress()
            pieces.append(piece)
            size += len(piece)
            if size > MAX_RESPONSE_BYTES:
                raise UpstreamError(_INVALID_RESPONSE)
        return b"".join(pieces)

    def _is_ready(self, raw: Any) -> bool:
        """Whether a read would not wait. A read that timed out could not be resumed: http.client refuses to."""
        answer, sock = raw._fp, self._sock
        if answer.fp is None or sock is None or answer.length == 0:
            return True
        timeout = sock.gettimeout()
        sock.settimeout(0)
        try:
            received = answer.fp.peek(1)
        except ssl.SSLWantReadError:
            return False
        finally:
            sock.settimeout(timeout)
        if answer.chunked and not answer.chunk_left:
            # Between two chunks: the line with the size of the next one has to be there, behind the end of the last.
            return b"\n" in received.removeprefix(b"\r\n")
        return bool(received)

    def close(self) -> None:
        """Give the connection back when the answer was read to its end, else close it. May be called twice."""
        response, self._response = self._response, None
        if response is None:
            return
        if self._is_read_to_its_end(response.raw):
            response.raw.release_conn()
        else:
            response.raw.close()
        self._sock = None

    def _is_read_to_its_end(self, raw: Any) -> bool:
        """Whether nothing of the answer is left, so that the connection may serve another."""
        if self._abort_error is not None:
            return False
        with contextlib.suppress(urllib3.exceptions.HTTPError, OSError):
            if not raw._fp.isclosed() and (self._is_ready(raw) or wait_for_read(self._sock, LAST_CHUNK_TIMEOUT_S)):  # type: ignore[arg-type]
                raw.read1(READ_BYTES)
        return bool(raw._fp.isclosed())

    @contextlib.contextmanager
    def _mapped(self) -> Iterator[None]:
        """Say in our words what requests and urllib3 raise. Both do: `raw.read1` translates nothing."""
        try:
            yield
        except (*FOREIGN, ValueError, AttributeError) as error:
            if self._abort_error is not None:
                # A reader whose socket is shut under it stumbles in many ways, half closed objects included.
                raise self._abort_error from error
            if not isinstance(error, FOREIGN):
                raise
            if not self._was_sent:
                raise UpstreamError(_CONNECTION_BROKE) from error  # also by a deadline: nothing could be billed
            raise _mapped_error(error) from error


def _timeout() -> UpstreamError:
    return UpstreamError(_TIMED_OUT, status=504, type="timeout_error", retry_scope=RetryScope.NONE)


FOREIGN = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)
TIMEOUTS = (
    requests.exceptions.ReadTimeout,
    requests.exceptions.Timeout,
    urllib3.exceptions.ReadTimeoutError,
    urllib3.exceptions.TimeoutError,
    TimeoutError,
)
INVALID_RESPONSES = (
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
    requests.exceptions.InvalidHeader,
    urllib3.exceptions.ProtocolError,
    urllib3.exceptions.DecodeError,
    urllib3.exceptions.ResponseError,
)


def _mapped_error(error: Exception) -> UpstreamError:
    """The UpstreamError that a foreign error becomes: by its class, never by its text."""
    if isinstance(error, (requests.exceptions.ConnectTimeout, urllib3.exceptions.ConnectTimeoutError)):
        return UpstreamError(_CONNECTION_BROKE)  # nothing was sent: another attempt cannot be billed twice
    if isinstance(error, TIMEOUTS):
        return _timeout()
    if isinstance(error, INVALID_RESPONSES):
        return UpstreamError(_INVALID_RESPONSE)
    return UpstreamError(_CONNECTION_BROKE)


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, socket_options=SOCKET_OPTIONS, **kwargs)
        self.poolmanager.pool_classes_by_scheme = connections.POOLS


@lru_cache(maxsize=256)
def _adapter(name: str, base_url: str) -> HTTPAdapter:
    """The connections of one endpoint. A changed address gets connections of its own."""
    return _Adapter(max_retries=0, pool_connections=1, pool_maxsize=POOL_SIZE)
