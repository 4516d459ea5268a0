"""Request bodies in flight: how many bytes a worker holds for one API key, and for all of them."""

import threading
from collections import Counter
from typing import Self

from django.conf import settings

from messages_api.errors import RequestError

MIB = 2**20
SMALL_BYTES = 64 * 1024
"""Bodies up to this size are not counted: as many as a worker has connections are 128 MiB. Large ones cannot keep them
out."""
RETRY_AFTER_S = 1  # a body ends with its request, which cannot be predicted


class HeldBody:
    """The bytes of one body, from before they are read until its request ends. A context manager."""

    def __init__(self, bodies: "BodiesInFlight", size: int, key_id: int) -> None:
        self._bodies = bodies
        self.size = size
        self.key_id = key_id
        self._is_released = False

    def release(self) -> None:
        """May be called more than once."""
        if not self._is_released:
            self._is_released = True
            self._bodies.remove(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class BodiesInFlight:
    """The bodies of one process. A request holds its body until it ends: a retry or a fallback sends it again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._total = 0
        self._by_key: Counter[int] = Counter()

    def hold(self, size: int, *, key_id: int) -> HeldBody:
        """Reserve room for a body before it is read.

        Raise RequestError: 429 if the bodies of the key would exceed its cap, 503 if those of all keys would exceed
        the worker's.
        """
        if size <= SMALL_BYTES:
            return HeldBody(self, 0, key_id)
        with self._lock:
            if self._by_key[key_id] + size > settings.MAX_KEY_BODIES_MIB * MIB:
                raise _key_is_full()
            if self._total + size > settings.MAX_BODIES_MIB * MIB:
                raise _worker_is_full()
            self._by_key[key_id] += size
            self._total += size
        return HeldBody(self, size, key_id)

    def remove(self, body: HeldBody) -> None:
        if not body.size:
            return
        with self._lock:
            self._total -= body.size
            self._by_key[body.key_id] -= body.size
            if not self._by_key[body.key_id]:
                del self._by_key[body.key_id]

    @property
    def total(self) -> int:
        """The bytes of all bodies that are counted."""
        return self._total


def _key_is_full() -> RequestError:
    return RequestError(
        f"Too many large requests in flight for this API key: at most {settings.MAX_KEY_BODIES_MIB} MiB of request "
        "bodies. Retry when one finishes.",
        status=429,
        type="rate_limit_error",
        headers={"retry-after": str(RETRY_AFTER_S)},
    )


def _worker_is_full() -> RequestError:
    return RequestError(
        "Too many large requests in flight. Retry shortly.",
        status=503,
        type="overloaded_error",
        headers={"Retry-After": str(RETRY_AFTER_S)},
    )


bodies = BodiesInFlight()
