"""How a connection to a model server is made and read, where urllib3 and http.client would do less."""

import http
import http.client
import socket
import threading
from collections.abc import Callable
from typing import Any, Protocol

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError

from lib.background import Background

MAX_INTERIM = 16  # answers of status 1xx before the real one


class Attached(Protocol):
    """Who wants to know which socket it uses."""

    def attach(self, sock: socket.socket | None) -> None: ...


class _Using(threading.local):
    exchange: Attached | None = None


using = _Using()
"""The exchange that the running thread sends."""


class _Connecting:
    """A connection that is being made. `give_up` it, and it is closed, be it there already or later."""

    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._sock: socket.socket | None = None
        self._was_given_up = False

    def __call__(self) -> socket.socket:
        sock = self._connect()
        with self._lock:
            self._sock = sock
            if self._was_given_up:
                sock.close()
        return sock

    def give_up(self) -> None:
        with self._lock:
            self._was_given_up = True
            if self._sock is not None:
                self._sock.close()


class _Answer(http.client.HTTPResponse):
    """Skips the interim answers that may come before the real one (RFC 9110, 15.2).

    http.client takes any of them but a 100 for the answer itself, and what follows for that of the next request.
    """

    def _read_status(self) -> tuple[str, int, str]:
        for _ in range(MAX_INTERIM):
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if status not in range(100, 200) or status == http.HTTPStatus.SWITCHING_PROTOCOLS:
                return version, status, reason
            http.client.parse_headers(self.fp)
        raise http.client.BadStatusLine("too many interim answers")


class _Watched:
    """Tells its exchange which socket it uses, and connects in time."""

    sock: socket.socket | None
    timeout: Any
    response_class: Any = _Answer

    def _new_conn(self) -> socket.socket:
        """Connect within the connect deadline, all of it: a look-up has none, and each address would get its own."""
        connecting = _Connecting(super()._new_conn)  # type: ignore[misc]
        attempt = Background(connecting)
        if attempt.wait(self.timeout):
            return attempt.result()
        connecting.give_up()
        raise ConnectTimeoutError(self, "not connected in time")

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        _report(self.sock)

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None:
            _report(self.sock)
        super().request(*args, **kwargs)  # type: ignore[misc]


def _report(sock: socket.socket | None) -> None:
    if using.exchange is not None:
        using.exchange.attach(sock)


class _Connection(_Watched, HTTPConnection):
    pass


class _SecureConnection(_Watched, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


POOLS = {"http": _Pool, "https": _SecurePool}
"""What `PoolManager.pool_classes_by_scheme` is to be."""
