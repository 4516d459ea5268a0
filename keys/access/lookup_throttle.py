"""
Who tries out keys is held back before the database is asked.

From one address so many unknown keys are looked up within any minute; further ones are refused. A key that this process
has met before is no guess (`snapshots`), so those who share the address go on.
"""

import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TypeVar

from django.conf import settings

from keys.errors import LedgerUnavailable, RateLimitExceeded

A_MINUTE = 20
MINUTE_S = 60.0
MAX_PLACES = 10_000
OF_ONE_CALLER = 64  # bits of an IPv6 address: the rest is for the caller to choose

Found = TypeVar("Found")


class KeyLookupThrottle:
    """The unknown keys of the last minute, by address. Bounded: the one that was quiet for the longest goes first."""

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._changed = threading.Condition()
        self._places: OrderedDict[str, _Place] = OrderedDict()

    def look_up(self, address: str | None, find: Callable[[], Found | None]) -> Found | None:
        """What `find` returns. Raise LimitReached, and ask nobody, where too many have been guessed.

        As many are looked up at once as would be too many if none was found; who comes then waits until one has ended.
        So many at once do not slip through, and those whose keys are good are not refused. A caller without an address
        is not held back: it would be all of them.
        """
        if address is None:
            return find()
        place = self._begin(_place(address))
        is_guess = False
        try:
            found = find()
            is_guess = found is None
        finally:
            with self._changed:
                place.running -= 1
                if is_guess:
                    place.moments.append(self._now())
                self._changed.notify_all()
        return found

    def __len__(self) -> int:
        return len(self._places)

    def clear(self) -> None:
        with self._changed:
            self._places.clear()

    def _begin(self, name: str) -> "_Place":
        gives_up_at = time.monotonic() + settings.DATABASE_TIMEOUT_S
        with self._changed:
            while True:
                place = self._places.setdefault(name, _Place())
                self._places.move_to_end(name)
                while len(self._places) > MAX_PLACES:
                    self._places.popitem(last=False)
                guessed = place.guessed(self._now())
                if guessed >= A_MINUTE:
                    raise _refusal(place.moments[0] + MINUTE_S - self._now())
                if guessed + place.running < A_MINUTE:
                    place.running += 1
                    return place
                if not self._changed.wait(gives_up_at - time.monotonic()):
                    raise LedgerUnavailable


class _Place:
    """What is known of one address."""

    def __init__(self) -> None:
        self.moments: deque[float] = deque()
        """When the unknown keys of the last minute were looked up."""
        self.running = 0
        """How many keys are being looked up."""

    def guessed(self, now: float) -> int:
        while self.moments and self.moments[0] <= now - MINUTE_S:
            self.moments.popleft()
        return len(self.moments)


def _refusal(wait_s: float) -> RateLimitExceeded:
    retry_after_s = max(1, math.ceil(wait_s))
    return RateLimitExceeded(
        f"Too many unknown API keys came from your address; try again in {retry_after_s} s.",
        retry_after_s=retry_after_s,
    )


def _place(address: str) -> str:
    parsed = ip_address(address)
    return str(ip_network((parsed, OF_ONE_CALLER), strict=False)) if isinstance(parsed, IPv6Address) else address


lookup_throttle = KeyLookupThrottle()
