"""gevent worker that bounds what slow clients occupy, and whose graceful shutdown waits for in-flight requests only.

gunicorn's own worker has no deadline for a client that does not read or send, and serves no other once such clients
have taken all its connections. A client that keeps its connection open delays its exit until `keepalive` or the
graceful timeout has passed, although no request is in flight.
"""

import math
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any

import gevent
from django.conf import settings
from gevent.server import StreamServer

from lib import log_batches
from project.server import open_files, unread_bodies
from project.server.connections import Connection, Connections, Kind, kind_of
from project.server.plain_worker import PlainWorker
from project.server.turns import Turns

TICK_S = 0.25
EXIT_MARGIN_S = 5  # part of the graceful timeout for error events, settlements and the exit itself
# Limit of the kernel's buffer for a client that reads slowly. The default is up to 4 MiB (net.ipv4.tcp_wmem).
SEND_BUFFER_BYTES = 256 * 1024


class DrainingWorker(PlainWorker):
    """On SIGTERM, close idle connections and drain in-flight requests (see `Application.drain`)."""

    wsgi: Any = None  # until it is loaded

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.server_class = self._server
        budgets = {Kind.API: settings.MAX_API_REQUESTS, Kind.PAGE: settings.MAX_PAGE_REQUESTS}
        budgets, total = open_files.affordable(budgets, total=settings.MAX_CONNECTIONS)
        self._connections = Connections(budgets=budgets, total=total)
        self._turns = Turns()
        self._is_closing = False

    def run(self) -> None:
        gevent.spawn(self._check_deadlines)
        super().run()

    def _check_deadlines(self) -> None:
        log_batches.begin()
        while True:
            self._connections.check_deadlines()
            log_batches.flush()
            gevent.sleep(TICK_S)

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
        connection = Connection(client, idle_timeout_s=self.cfg.keepalive or math.inf)
        self._connections.add(connection)
        if self._is_closing:
            connection.end_reading()  # the request that was received is served, and no other is waited for
        try:
            super().handle(listener, connection, addr)
        finally:
            self._connections.remove(connection)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> Any:
        kind = kind_of(req.path)
        if kind is not Kind.PAGE:  # before it uses a budget: invalid API requests end within their turn
            self._turns.wait_for_request()
        self._connections.begin(sock, kind)
        if sock.is_over_capacity:
            req.force_close()  # what the client has pipelined is not worth a response
        elif kind is Kind.PAGE:
            self._turns.wait_for_page()
        try:
            return super().handle_request(listener_name, req, sock, addr)
        except StopIteration:  # the connection ends
            unread_bodies.discard(req, sock)
            raise
        finally:
            self._connections.end(sock)
            if not self.alive:
                sock.end_reading()  # the shutdown began while this request was in flight

    def notify(self) -> None:
        """Send the heartbeat to the master and log what was closed. If the master has died, shut down gracefully.

        gunicorn's own worker exits immediately, in the middle of every stream.
        """
        if report := self._connections.report():  # once per second, not for each connection of a flood
            self.log.warning("At capacity: %s", report)
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
        for connection in self._connections.idle:
            connection.end_reading()


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
