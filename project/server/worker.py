"""gevent worker whose graceful shutdown waits for in-flight requests, not for idle connections.

With gunicorn's own worker, a client that keeps its connection open delays the exit until `keepalive` or the graceful
timeout has passed, although no request is in flight.
"""

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any

from gevent.server import StreamServer
from gunicorn.workers.ggevent import GeventWorker

EXIT_MARGIN_S = 5  # part of the graceful timeout for error events, settlements and the exit itself
# Limit of the kernel's buffer for a client that reads slowly. The default is up to 4 MiB (net.ipv4.tcp_wmem).
SEND_BUFFER_BYTES = 256 * 1024


class DrainingWorker(GeventWorker):
    """On SIGTERM, close idle connections and drain in-flight requests (see `Application.drain`)."""

    wsgi: Any = None  # until it is loaded

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.server_class = self._server
        self._idle: set[socket.socket] = set()
        self._is_closing = False

    def _server(self, listener: Any, *, spawn: Any, **options: Any) -> StreamServer:
        """Return the server of a listening socket, as gunicorn makes it, but with a graceful close."""
        tls = {name: value for name, value in options.items() if name == "ssl_context"}
        handle = partial(self.handle, _ListenerName(listener))
        server = _DrainingServer(listener, handle, spawn=spawn, on_close=self._close, **tls)
        if self.cfg.workers > 1:
            server.max_accept = 1
        return server

    def handle(self, listener: Any, client: socket.socket, addr: Any) -> None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self._idle.add(client)
        if self._is_closing:
            _end_reading(client)  # the request that was received is served, and no other is waited for
        try:
            super().handle(listener, client, addr)
        finally:
            self._idle.discard(client)

    def handle_request(self, listener_name: Any, req: Any, sock: socket.socket, addr: Any) -> Any:
        self._idle.discard(sock)
        try:
            return super().handle_request(listener_name, req, sock, addr)
        finally:
            self._idle.add(sock)
            if not self.alive:
                _end_reading(sock)  # the shutdown began while this request was in flight

    def notify(self) -> None:
        """Send the heartbeat to the master. If the master has died, shut down gracefully.

        gunicorn's own worker exits immediately, in the middle of every stream.
        """
        if self.alive and self.ppid != os.getppid():
            self.log.error("The master has died: shutting down")
            self.wsgi.drain(within_s=0)
            self._shut_down()
        self.tmp.notify()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.wsgi is not None:
            self.wsgi.drain(within_s=max(0, self.cfg.graceful_timeout - EXIT_MARGIN_S))
        self._shut_down()

    def _close(self) -> None:
        """Wait for no further request, also on the connections that were accepted since `_shut_down`."""
        self._is_closing = True
        self._shut_down()

    def _shut_down(self) -> None:
        """Accept no new connection and close the idle ones."""
        self.alive = False
        for connection in list(self._idle):
            _end_reading(connection)


class _ListenerName:
    """The name of a listening socket. A connection may outlive the socket, and `handle` reads the name."""

    def __init__(self, listener: Any) -> None:
        self._name = listener.getsockname()

    def getsockname(self) -> Any:
        return self._name


class _DrainingServer(StreamServer):
    """A server that accepts the connections in its queue before it closes. Otherwise the kernel resets them.

    On a busy machine, many are in the queue after a signal: the event loop runs the timer that closes the server before
    it accepts.
    """

    def __init__(self, *args: Any, on_close: Callable[[], None], **kwargs: Any) -> None:
        self._on_close = on_close
        super().__init__(*args, **kwargs)

    def close(self) -> None:
        """May be called twice."""
        if not self.closed:
            self.stop_accepting()
            self._on_close()
            with suppress(OSError):  # such as no free file descriptor: the remaining connections are reset
                while not self.full() and (connection := self.do_read()):
                    self.do_handle(*connection)
        super().close()


def _end_reading(connection: socket.socket) -> None:
    """End the wait for the next request on a connection."""
    # On a duplicate of the socket: gevent raises an error in the greenlet that waits on the socket itself.
    with suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as duplicate:
        duplicate.shutdown(socket.SHUT_RD)
