"""Request bodies that the application did not read: a small rest is drained, a larger one ends the connection."""

import math
import socket
import time
from contextlib import suppress
from typing import Any

from django.conf import settings
from gunicorn.http.message import Request

from lib.pace import pace

MAX_DRAINED_BYTES = 64 * 1024
"""Up to this rest, the connection is used again. gunicorn drains it, for `keepalive` seconds at most."""
DISCARD_S = 5.0
PIECE_BYTES = 64 * 1024


class ClosingRequest(Request):
    """A request that ends its connection if much of its body is not read when the response begins."""

    def should_close(self) -> bool:
        return bool(super().should_close()) or unread_bytes(self) > MAX_DRAINED_BYTES


def unread_bytes(request: Any) -> float:
    """Return how much of a body the application has not read: infinite for a chunked one that has not ended."""
    reader = getattr(request.body, "reader", None)  # None for a body that arrived with its head
    length = getattr(reader, "length", None)
    if length is not None:
        return int(length)
    return math.inf if getattr(reader, "parser", None) is not None else 0


def discard(request: Any, client: socket.socket) -> None:
    """Read and drop what the client still sends after a response, before its connection is closed.

    Most clients read the response when they have sent their whole body. If the connection was closed before, the kernel
    would reset it, and they would report a broken pipe instead of the response.
    """
    if unread_bytes(request) <= MAX_DRAINED_BYTES:
        return
    deadline = time.monotonic() + DISCARD_S
    left = settings.MAX_BODY_BYTES
    step = pace()
    with suppress(OSError):
        client.shutdown(socket.SHUT_WR)
        while left > 0 and (remaining := deadline - time.monotonic()) > 0:
            client.settimeout(remaining)
            piece = client.recv(PIECE_BYTES)
            if not piece:
                return
            left -= len(piece)
            step()
