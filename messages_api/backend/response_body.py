"""Body of a response, as it arrives: the file-like object of `requests.Response.raw`."""

import ssl

from requests.exceptions import ChunkedEncodingError, ReadTimeout, SSLError

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

    def receive(self, *, until: float) -> bytes | None:
        """Return the next bytes, empty at the end, or None if none arrive until the monotonic time `until`.

        Raise ChunkedEncodingError for a body that is cut or invalid, and SSLError.
        """
        parser = self._parser
        while not parser.pieces:
            if parser.is_complete or self.closed:
                return b""
            if parser.failure is not None:
                raise ChunkedEncodingError("the response is cut or invalid") from parser.failure
            try:
                received = self._connection.receive(self._state.turn, until=until)
            except ssl.SSLError as error:
                raise SSLError("TLS failed") from error
            except OSError as error:
                raise ChunkedEncodingError("the connection failed") from error
            if received is None:
                return None
            if received:
                parser.feed(received)
            else:
                parser.end()
        return parser.take() if self.is_joining else parser.take_first()

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
