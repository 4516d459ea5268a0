"""Throttle for invalid key attempts: limits the lookups of unknown keys per client IP address, before the database."""

import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network

from django.conf import settings

from keys.errors import LedgerUnavailable, RateLimitExceeded

MAX_ATTEMPTS = 20  # invalid ones per minute
MINUTE_S = 60.0
MAX_CLIENTS = 10_000
IPV6_PREFIX_LENGTH = 64  # a client is free to choose the other bits of its IP address


class KeyLookupThrottle:
    """Recent lookups of unknown keys by client. Memory is bounded: the least recently seen client is dropped first.

    Only unknown keys count, and keys that this process has seen before are not looked up through the throttle
    (`snapshots`). So clients with valid keys are not affected by others behind the same IP address.
    """

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._changed = threading.Condition()
        self._clients: OrderedDict[str, _ClientState] = OrderedDict()

    @contextmanager
    def lookup(self, client_ip: str | None) -> Iterator["Lookup"]:
        """Admit one lookup, for the time of the `with` block. The block sets `is_unknown_key`.

        Raise RateLimitExceeded before the block if the client has used up its invalid attempts. Lookups in progress
        count as invalid until they end: a further one then waits, so that concurrent guesses cannot exceed the limit
        and valid keys are not rejected. Raise LedgerUnavailable if the wait exceeds DATABASE_TIMEOUT_S. Lookups
        without a client IP address are not limited: all of them would share one limit.
        """
        lookup = Lookup()
        if client_ip is None:
            yield lookup
            return
        client = self._start(_client_of(client_ip))
        try:
            yield lookup
        finally:
            with self._changed:
                client.in_progress -= 1
                if lookup.is_unknown_key:
                    client.invalid_at.append(self._now())
                self._changed.notify_all()

    def __len__(self) -> int:
        return len(self._clients)

    def clear(self) -> None:
        with self._changed:
            self._clients.clear()

    def _start(self, name: str) -> "_ClientState":
        give_up_at = time.monotonic() + settings.DATABASE_TIMEOUT_S
        with self._changed:
            while True:
                client = self._clients.setdefault(name, _ClientState())
                self._clients.move_to_end(name)
                while len(self._clients) > MAX_CLIENTS:
                    self._clients.popitem(last=False)
                invalid = client.invalid_in_last_minute(self._now())
                if invalid >= MAX_ATTEMPTS:
                    raise _too_many_attempts(client.invalid_at[0] + MINUTE_S - self._now())
                if invalid + client.in_progress < MAX_ATTEMPTS:
                    client.in_progress += 1
                    return client
                if not self._changed.wait(give_up_at - time.monotonic()):
                    raise LedgerUnavailable


@dataclass(slots=True)
class Lookup:
    """The result of a lookup, as far as the throttle counts it."""

    is_unknown_key: bool = False


class _ClientState:
    """Lookups of one client."""

    def __init__(self) -> None:
        self.invalid_at: deque[float] = deque()
        """Times of the lookups in the last minute that found no key."""
        self.in_progress = 0
        """Number of lookups that have not ended."""

    def invalid_in_last_minute(self, now: float) -> int:
        while self.invalid_at and self.invalid_at[0] <= now - MINUTE_S:
            self.invalid_at.popleft()
        return len(self.invalid_at)


def _too_many_attempts(wait_s: float) -> RateLimitExceeded:
    retry_after_s = max(1, math.ceil(wait_s))
    return RateLimitExceeded(
        f"Too many invalid API keys from your IP address. Retry after {retry_after_s} s.",
        retry_after_s=retry_after_s,
    )


def _client_of(client_ip: str) -> str:
    """Return the client IP, or the /64 network of an IPv6 one, which a single client controls as a whole."""
    parsed = ip_address(client_ip)
    if not isinstance(parsed, IPv6Address):
        return client_ip
    return str(ip_network((parsed, IPV6_PREFIX_LENGTH), strict=False))


lookup_throttle = KeyLookupThrottle()
