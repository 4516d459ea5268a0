"""Body of a response, as it arrives: the file-like object of `requests.Response.raw`."""

import ssl

from requests.exceptions import ChunkedEncodingError, ReadTimeout, SSLError

from lib.readiness import Relay
from messages_api.backend.connection import UpstreamConnection
from messages_api.backend.connection_pool import ConnectionPool
from messages_api.backend.exchange_state import ExchangeState
from messages_api.backend.response_parser import ResponseParser


class ResponseBody:
    """Reads the body of a response from its connection. `close()` must be called and may be repeated."""

    def __init__(
        self,
        connection: UpstreamConnection,
        parser: ResponseParser,
        state: ExchangeState,
        pool: ConnectionPool,
        *,
        is_sent: bool,
    ) -> None:
        self._connection = connection
        self._parser = parser
        self._state = state
        self._pool = pool
        self._is_sent = is_sent
        """Whether the request was sent completely."""
        self.is_joining = True
        """Whether bytes of several chunks that arrived together are read together."""
        self.closed = False

    @property
    def is_complete(self) -> bool:
        """Whether all of the response has arrived."""
        return self._parser.is_complete

    def receive(self, *, until: float, relay: Relay | None = None) -> bytes | None:
        """Return the next bytes, empty at the end, or None if none arrive until the monotonic time `until`.

        `relay` is called in the loop while nothing but bytes is waited for. Once it returns False, the bytes that it
        did not take are returned, or None. Raise ChunkedEncodingError for a body that is cut or invalid, and SSLError.
        """
        parser = self._parser
        while not parser.pieces:
            if parser.is_complete or self.closed:
                return b""
            if parser.failure is not None:
                raise ChunkedEncodingError("the response is cut or invalid") from parser.failure
            try:
                received = self._connection.receive(self._state.turn, until=until, relay=relay)
            except ssl.SSLError as error:
                raise SSLError("TLS failed") from error
            except OSError as error:
                raise ChunkedEncodingError("the connection failed") from error
            if received is None:
                if parser.has_news:  # that the relay has received
                    continue
                return None
            if received:
                parser.feed(received)
            else:
                parser.end()
        return parser.take() if self.is_joining else parser.take_first()

    def receive_now(self) -> bytes | None:
        """Receive what has arrived, for the relay of a running `receive`. Return all bytes of the body that were not
        taken, which may be none, or None if there is something else: the end, or a failure.

        The bytes are taken with `take_received`. Raise OSError.
        """
        received = self._connection.receive_now()
        if received is None:
            return None
        parser = self._parser
        if received:
            parser.feed(received)
        if parser.is_complete or parser.failure is not None:
            return None
        pieces = parser.pieces
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def take_received(self, *, until: float) -> None:
        """Take what `receive_now` returned. The running `receive` waits until the monotonic time `until`."""
        self._parser.pieces.clear()
        self._connection.postpone(until)

    def read1(self, amt: int = -1, decode_content: bool | None = None) -> bytes:
        """Return the next bytes, of any number, or none at the end, which closes the body.

        Raise ReadTimeout when the exchange expires.
        """
        received = self.receive(until=self._state.expires_at)
        if received is None:
            raise ReadTimeout("no bytes in time")
        if not received:
            self.close()
        if 0 <= amt < len(received):
            self._parser.pieces.append(received[amt:])
            return received[:amt]
        return received

    def read(self, amt: int | None = None, decode_content: bool | None = None) -> bytes:
        """Return the next `amt` bytes, fewer only at the end, or all that remain."""
        pieces: list[bytes] = []
        left = amt
        while left is None or left > 0:
            piece = self.read1(-1 if left is None else left)
            if not piece:
                break
            pieces.append(piece)
            left = None if left is None else left - len(piece)
        return b"".join(pieces)

    def release_conn(self) -> None:
        """Close the body: as `requests` calls it."""
        self.close()

    def close(self) -> None:
        """Return the connection to the pool if nothing of the response remains, else close it."""
        if self.closed:
            return
        self.closed = True
        self._state.detach()
        is_reusable = self._parser.is_reusable and self._is_sent
        self._parser.close()
        if is_reusable and self._state.abort_error is None:
            self._pool.give_back(self._connection)
        else:
            self._connection.close()
