"""Transport adapter for `requests`: pooled connections of the gateway's own, and a parser in C.

urllib3 took 464 µs of CPU for sending a request and reading the head of its response, and a poll object for each read.
"""

import ssl
import time
from http.client import HTTPException
from typing import Any

import requests
from requests.adapters import BaseAdapter
from requests.exceptions import ConnectionError, ReadTimeout, SSLError
from requests.utils import select_proxy

from messages_api.backend.connection import UpstreamConnection
from messages_api.backend.connection_pool import ConnectionPool
from messages_api.backend.destination import Destination, destination_of
from messages_api.backend.exchange_state import ExchangeState
from messages_api.backend.http_messages import ExchangeResponse, Headers, message_of
from messages_api.backend.opening import open_connection
from messages_api.backend.response_body import ResponseBody
from messages_api.backend.response_parser import Header, ResponseParser

DEFAULT_TIMEOUT_S = 60.0


class HttpAdapter(BaseAdapter):
    """Sends requests over connections that it keeps. It knows no redirects, cookies, proxies and variables.

    It can be mounted in a `requests.Session` as well.
    """

    def __init__(self) -> None:
        super().__init__()
        self._pools: dict[tuple[str, str, int, str], ConnectionPool] = {}

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> ExchangeResponse:
        """Send a request and return its response once the head is known; `raw` reads the body.

        `timeout` is a pair: for the connection over all IP addresses, and until the head has arrived. Raise
        ConnectTimeout, SSLError, ReadTimeout, InvalidHeader or ConnectionError, and the error of an abort.
        """
        if verify is False or cert is not None or (proxies and select_proxy(str(request.url), proxies)):
            raise NotImplementedError("certificates are verified, and there is no proxy and no client certificate")
        connect_s, read_s = timeout if isinstance(timeout, tuple) else (timeout, timeout)
        state = getattr(request, "state", None) or ExchangeState(first_byte_timeout_s=read_s or DEFAULT_TIMEOUT_S)
        destination = destination_of(str(request.url))
        message = message_of(request, destination)
        ca_file = verify if isinstance(verify, str) else ""
        pool = self._pool(destination, ca_file)
        connection = pool.take()
        if connection is None:
            connection = open_connection(destination, ca_file=ca_file, timeout_s=connect_s or DEFAULT_TIMEOUT_S)
        try:
            state.attach(connection)
            parser, is_sent = _exchange(connection, message, state)
        except BaseException:
            state.detach()
            connection.close()
            raise
        body = ResponseBody(connection, parser, state, pool, is_sent=is_sent)
        assert parser.status is not None
        return ExchangeResponse(status=parser.status, headers=_decoded(parser.headers), raw=body, request=request)

    def _pool(self, destination: Destination, ca_file: str) -> ConnectionPool:
        key = (destination.scheme, destination.host, destination.port, ca_file)
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools.setdefault(key, ConnectionPool())
        return pool

    def close(self) -> None:
        """Close the idle connections, and those in use once their response was read."""
        for pool in self._pools.values():
            pool.close()
        self._pools = {}


def _exchange(
    connection: UpstreamConnection, message: list[bytes], state: ExchangeState
) -> tuple[ResponseParser, bool]:
    """Send a request and read the head of its response. Return its parser and whether all was sent.

    An upstream may respond before it has read the body, and close: its response is read although sending failed.
    """
    parser = ResponseParser()
    is_sent = True
    try:
        try:
            for part in message:
                connection.send(part, until=state.expires_at)
        except (BrokenPipeError, ConnectionResetError):
            is_sent = False
        while parser.status is None:
            received = connection.receive(state.turn, until=state.expires_at)
            if received is None:
                if time.monotonic() < state.expires_at:
                    continue
                raise ReadTimeout("no response in time")
            if received:
                parser.feed(received)
            else:
                parser.end()
            if parser.failure is not None and parser.status is None:
                raise parser.failure
    except requests.RequestException:
        raise
    except ssl.SSLError as error:
        raise SSLError("TLS failed") from error
    except TimeoutError as error:
        raise ReadTimeout("not sent in time") from error
    except (OSError, HTTPException) as error:
        raise ConnectionError("the connection failed") from error
    return parser, is_sent


def _decoded(headers: list[Header]) -> Headers:
    return Headers([(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers])
