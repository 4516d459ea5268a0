"""Deadline for reading a request body. gunicorn itself has none for a body that arrives slowly."""

import socket
import time
from contextlib import suppress
from typing import Self

from django.conf import settings
from django.http import HttpRequest

from messages_api.watcher import watcher


class BodyDeadline:
    """Context manager that ends the read after `CLIENT_BODY_TIMEOUT_S` by shutting the client's side of the socket."""

    def __init__(self, http_request: HttpRequest) -> None:
        self._socket: socket.socket | None = http_request.META.get("gunicorn.socket")
        self._expires_at = time.monotonic() + settings.CLIENT_BODY_TIMEOUT_S

    def __enter__(self) -> Self:
        watcher.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        watcher.remove(self)

    def fileno(self) -> int | None:
        """None: a client that disconnects ends its body."""
        return None

    def tick(self, now: float) -> None:
        if self._socket is not None and now >= self._expires_at:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RD)

    def on_client_disconnect(self) -> None:
        """Nothing to do: the read ends by itself."""

    def on_drain_timeout(self) -> None:
        """Nothing to do: the request is not admitted yet and will be rejected."""
