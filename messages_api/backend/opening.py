"""Opening of connections to upstreams: lookup, TCP and TLS within one timeout over all IP addresses."""

import contextlib
import socket
import ssl
import threading
import time

from requests.exceptions import ConnectionError, ConnectTimeout, SSLError

from lib.pace import Turn
from lib.threads import Background
from messages_api.backend.connection import TlsConnection, UpstreamConnection
from messages_api.backend.destination import Destination
from messages_api.backend.tls import tls_context

TURN_S = 0.25
LONGEST_OPENING_S = 60.0  # of the socket itself: its timer does not distinguish a busy worker from a silent upstream
# What the kernel buffers of a response that the client does not read. The default is up to 32 MiB (net.ipv4.tcp_rmem).
RECEIVE_BUFFER_BYTES = 256 * 1024
SOCKET_OPTIONS = [
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES),
]


def open_connection(destination: Destination, *, ca_file: str, timeout_s: float) -> UpstreamConnection:
    """Return a connection to the first IP address that accepts one.

    Raise ConnectTimeout after `timeout_s`, SSLError, or ConnectionError. Nothing of a request was sent then.
    """
    opening = _Opening(destination, ca_file)
    run = Background(opening.run)
    try:
        if opening.wait(run, timeout_s):
            run.result()
    except ssl.SSLError as error:
        raise SSLError("TLS failed") from error
    except (OSError, UnicodeError) as error:  # the latter for a label that is too long
        raise ConnectionError("the connection failed") from error
    finally:
        connection = opening.end()
    if connection is None:
        raise ConnectTimeout("not connected in time")
    return connection


class _Opening:
    """A connection being opened in the background. A thread that waits for a lookup cannot be interrupted."""

    def __init__(self, destination: Destination, ca_file: str) -> None:
        self._destination = destination
        self._ca_file = ca_file
        self._lock = threading.Lock()
        self._sock: socket.socket | None = None
        """The socket that connects."""
        self._result: UpstreamConnection | None = None
        self._is_ended = False

    def run(self) -> None:
        """Open the connection, and close it if it is no longer wanted. Raise OSError."""
        context = tls_context(self._ca_file) if self._destination.scheme == "https" else None
        sock = self._connect()
        if context is None:
            connection = UpstreamConnection(sock)
        else:
            connection = self._secured(TlsConnection(sock, context, server_hostname=self._destination.server_name))
        with self._lock:
            if not self._is_ended:
                self._result = connection
                return
        connection.close()

    def _connect(self) -> socket.socket:
        address = (self._destination.host, self._destination.port)
        error = OSError("the lookup returned no IP address")
        for family, kind, protocol, _, target in socket.getaddrinfo(*address, type=socket.SOCK_STREAM):
            sock = socket.socket(family, kind, protocol)
            try:
                for option in SOCKET_OPTIONS:
                    sock.setsockopt(*option)
                self._hold(sock)
                sock.settimeout(LONGEST_OPENING_S)
                sock.connect(target)
                if self._is_ended:
                    raise OSError("no longer wanted")
                return sock
            except OSError as failed:
                error = failed
                sock.close()
                if self._is_ended:
                    break
        raise error

    def _hold(self, sock: socket.socket) -> None:
        with self._lock:
            self._sock = sock

    def _secured(self, connection: TlsConnection) -> UpstreamConnection:
        try:
            connection.handshake(Turn(), until=time.monotonic() + LONGEST_OPENING_S)
        except BaseException:
            connection.close()
            raise
        return connection

    def wait(self, run: "Background[None]", timeout_s: float) -> bool:
        """Return whether the run ends in time.

        Time in which the worker is busy with other streams is not the upstream's: a turn of the loop counts as TURN_S,
        however long it takes, and a connection that exists by then gets a last turn. gevent runs expired timers before
        sockets that became ready in the same turn, so a busy worker with 600 streams blamed the upstream for all 39
        timeouts that were its own.
        """
        left_s = timeout_s
        while left_s > 0:
            if run.wait(min(TURN_S, left_s)):
                return True
            left_s -= TURN_S
        return self._has_peer() and run.wait(TURN_S)

    def _has_peer(self) -> bool:
        with self._lock, contextlib.suppress(OSError):
            return self._sock is not None and bool(self._sock.getpeername())
        return False

    def end(self) -> UpstreamConnection | None:
        """Return the connection if it is open by now. Otherwise make what still waits for it fail."""
        with self._lock:
            self._is_ended = True
            if self._result is None and self._sock is not None:
                with contextlib.suppress(OSError):
                    self._sock.shutdown(socket.SHUT_RDWR)  # of a socket that connects, too
            return self._result
