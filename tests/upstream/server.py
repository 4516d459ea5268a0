"""HTTP server of the scripted upstream: a script responds to each request, and all requests are recorded."""

import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from .connection import Connection, PeerDisconnected, Stopped
from .listener import Listener
from .reader import BadRequest, Reader, RequestHead
from .request_log import RecordedRequest, RequestLog
from .responses import failure
from .scenario import PREFIX, name_in_path, without_parameters
from .scenarios import SCENARIOS, default_script
from .steps import Script, Stage, Step, script_of

_CLOSE_WITHIN_S = 5.0


class _QueuedScript:
    """A queued script and the number of requests it remains for."""

    def __init__(self, script: Script, *, times: int | None, before_body: bool) -> None:
        self.script = script
        self.remaining = times
        self.before_body = before_body


class ScriptedUpstream:
    """An upstream in both dialects that plays scripts. It listens between `start` and `close`.

    With `tls` it accepts TLS only; `certificates.Authority` creates the contexts.
    """

    def __init__(self, *, port: int = 0, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self._log = RequestLog()
        self._tls = tls
        self.failed_handshakes = 0
        """Number of failed TLS handshakes, such as of clients that rejected the certificate."""
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._queue: deque[_QueuedScript] = deque()
        self._connections: dict[Connection, threading.Thread] = {}
        self._connection_count = 0
        self._request_count = 0
        self._address = (host, port)
        self._listener: Listener | None = None

    def __enter__(self) -> "ScriptedUpstream":
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def start(self) -> None:
        self._listener = Listener(self._address, take=self._take, stopping=self._stopping)
        self._address = self._listener.address
        self._listener.accept()

    def close(self) -> None:
        """Close all sockets and wait for all threads. Scripts that still play end as `stopped`."""
        self._stopping.set()
        if self._listener is not None:
            self._listener.close()
        with self._lock:
            running = dict(self._connections)
        for connection in running:
            connection.interrupt()
        deadline = time.monotonic() + _CLOSE_WITHIN_S
        for thread in running.values():
            thread.join(max(0.0, deadline - time.monotonic()))
        if any(thread.is_alive() for thread in running.values()):
            raise RuntimeError(f"Scripts still play {_CLOSE_WITHIN_S} s after the upstream was closed.")

    @property
    def url(self) -> str:
        host, port = self._address
        return f"{'https' if self._tls else 'http'}://{host}:{port}"

    @property
    def port(self) -> int:
        return self._address[1]

    @property
    def requests(self) -> list[RecordedRequest]:
        """All requests so far, in the order of their arrival."""
        return self._log.all()

    @property
    def open_connections(self) -> int:
        with self._lock:
            return len(self._connections)

    def queue(self, *parts: Step | Script | Sequence[Step], times: int | None = 1, before_body: bool = False) -> None:
        """Queue the response to the next request: steps, lists of steps or scripts, in this order.

        It is used `times` times, or for all following requests if `times` is None. With `before_body` the script plays
        as soon as the headers are read.
        """
        with self._lock:
            self._queue.append(_QueuedScript(script_of(*parts), times=times, before_body=before_body))

    def clear_queue(self) -> None:
        """Remove all queued scripts; requests get the default script again."""
        with self._lock:
            self._queue.clear()

    def refuse(self) -> None:
        """Refuse new connections until `accept`; open connections continue."""
        if self._listener is not None:
            self._listener.refuse()

    def accept(self) -> None:
        """Accept connections again, on the same port."""
        if self._listener is not None:
            self._listener.accept()

    def wait_for(
        self, predicate: Callable[[RecordedRequest], object], *, count: int = 1, within_s: float = 5.0
    ) -> list[RecordedRequest]:
        """Return the requests that satisfy the predicate once there are `count` of them, or raise TimeoutError."""
        return self._log.wait_for(predicate, count=count, within_s=within_s)

    def _take(self, sock: socket.socket) -> None:
        try:
            connection = Connection(sock, stopping=self._stopping, tls=self._tls)
        except OSError:  # the peer has disconnected already
            sock.close()
            return
        with self._lock:
            self._connection_count += 1
            number = self._connection_count
            thread = threading.Thread(
                target=self._serve, args=(connection, number), daemon=True, name=f"upstream-{number}"
            )
            self._connections[connection] = thread
        thread.start()

    def _serve(self, connection: Connection, number: int) -> None:
        reader = Reader(connection)
        request = None
        try:
            self._handshake(connection)
            while connection.persists:
                head = reader.head()
                request = self._arrived(head, connection=number)
                self._respond(request, head, reader, connection)
        except PeerDisconnected as disconnect:
            if request is not None:
                self._log.record_disconnect(request, at=disconnect.at)
        except (Stopped, BadRequest):
            pass
        finally:
            connection.close()
            with self._lock:
                del self._connections[connection]

    def _handshake(self, connection: Connection) -> None:
        try:
            connection.handshake()
        except PeerDisconnected:
            with self._lock:
                self.failed_handshakes += 1
            raise

    def _arrived(self, head: RequestHead, *, connection: int) -> RecordedRequest:
        with self._lock:
            self._request_count += 1
            return RecordedRequest(
                id=self._request_count,
                connection=connection,
                method=head.method,
                path=head.path,
                headers=head.headers,
                at=time.monotonic(),
                dialect=_dialect(head),
            )

    def _respond(self, request: RecordedRequest, head: RequestHead, reader: Reader, connection: Connection) -> None:
        queued = self._next_queued() or _script_by_name(request, name_in_path(head.path))
        if queued is None or not queued.before_body:
            request.body = reader.body(head)
        if queued is None and request.model.startswith(PREFIX):
            queued = _script_by_name(request, request.model.removeprefix(PREFIX))
        self._log.add(request)
        if self._listener is None:
            raise Stopped
        stage = Stage(request=request, head=head, connection=connection, reader=reader, listener=self._listener)
        self._play(queued.script if queued else default_script, stage)
        # An unread body would be parsed as the next request.
        if not head.keeps_alive or (queued and queued.before_body):
            connection.close()

    def _next_queued(self) -> _QueuedScript | None:
        with self._lock:
            if not self._queue:
                return None
            queued = self._queue[0]
            if queued.remaining is not None:
                queued.remaining -= 1
                if queued.remaining == 0:
                    self._queue.popleft()
            return queued

    def _play(self, script: Script, stage: Stage) -> None:
        connection = stage.connection
        sent_before = connection.sent_bytes
        outcome = "script_failed"
        try:
            for step in script(stage.request):
                step.play(stage)
                if connection.is_closed:
                    break
            outcome = "played"
        except PeerDisconnected as disconnect:
            # Recorded before the end, so that a test that waits for the end sees both.
            self._log.record_disconnect(stage.request, at=disconnect.at)
            outcome = disconnect.outcome
            raise
        except Stopped:
            outcome = "stopped"
            raise
        finally:
            self._log.end(stage.request, outcome=outcome, sent_bytes=connection.sent_bytes - sent_before)


def _script_by_name(request: RecordedRequest, name: str) -> _QueuedScript | None:
    if not name:
        return None
    request.scenario = name
    scenario = SCENARIOS.get(name) or SCENARIOS.get(without_parameters(name))
    if scenario is None:
        return _QueuedScript(script_of(failure(404, f"Unknown scenario {name!r}.")), times=1, before_body=False)
    return _QueuedScript(scenario.script, times=1, before_body=scenario.before_body)


def _dialect(head: RequestHead) -> str:
    path = head.path.partition("?")[0]
    is_anthropic = "/messages" in path or "anthropic-version" in head.headers
    return "anthropic" if is_anthropic else "openai"
