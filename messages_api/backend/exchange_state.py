"""State of one exchange that other threads reach: its connection, its deadlines, and its abort."""

import math
import time

from lib.pace import Turn
from messages_api.backend.connection import UpstreamConnection

READ_SLICE_S = 0.002  # for one stream while others wait: 50 upstreams that flood the worker delay the rest by 0.1 s


class ExchangeState:
    """The connection of one exchange and its deadlines. Any thread can abort it at any time.

    The state is here and not in the exchange, so that connections do not call back into the exchange that uses them.
    """

    __slots__ = (
        "_first_byte_timeout_s",
        "abort_error",
        "connection",
        "phase_expires_at",
        "total_expires_at",
        "turn",
        "was_sent",
    )

    def __init__(self, *, first_byte_timeout_s: float, total_expires_at: float = math.inf) -> None:
        self._first_byte_timeout_s = first_byte_timeout_s
        self.connection: UpstreamConnection | None = None
        self.abort_error: Exception | None = None
        self.phase_expires_at = math.inf
        """Monotonic time."""
        self.total_expires_at = total_expires_at
        """Monotonic time."""
        self.was_sent = False
        """Whether the request may have been sent: there was a connection."""
        self.turn = Turn(slice_s=READ_SLICE_S)
        """The turn of the greenlet that reads. It ends although data is always ready."""

    @property
    def expires_at(self) -> float:
        """The monotonic time at which the exchange has timed out."""
        phase, total = self.phase_expires_at, self.total_expires_at
        return phase if phase < total else total

    def attach(self, connection: UpstreamConnection) -> None:
        """Set the connection that the request is about to be sent on. Raise the error of an earlier abort."""
        self.connection = connection
        if self.abort_error is not None:
            raise self.abort_error
        self.phase_expires_at = time.monotonic() + self._first_byte_timeout_s
        self.was_sent = True

    def detach(self) -> None:
        """Forget the connection, before it serves another exchange or is closed. An abort no longer reaches it."""
        self.connection = None

    def abort(self, error: Exception) -> None:
        """Shut the connection down, now or when it is attached. The first error is the one that readers get."""
        if self.abort_error is None:
            self.abort_error = error
        connection = self.connection
        if connection is not None:
            connection.shutdown()
