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

from keys.errors import LimitReached

A_MINUTE = 20
MINUTE_S = 60.0
MAX_PLACES = 10_000
OF_ONE_CALLER = 64  # bits of an IPv6 address: the rest is for the caller to choose

Found = TypeVar("Found")


class Guesses:
    """The unknown keys of the last minute, by address. Bounded: the one that was quiet for the longest goes first."""

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._moments: OrderedDict[str, deque[float]] = OrderedDict()

    def look_up(self, address: str | None, find: Callable[[], Found | None]) -> Found | None:
        """What `find` returns. Raise LimitReached, and ask nobody, where too many have been guessed.

        It counts as a guess while it is looked up, so that many at once do not slip through, and stays one if nothing
        is found. A caller without an address is not held back: it would be all of them.
        """
        if address is None:
            return find()
        place = _place(address)
        moment = self._begin(place)
        try:
            found = find()
        except BaseException:
            self._take_back(place, moment)
            raise
        if found is not None:
            self._take_back(place, moment)
        return found

    def __len__(self) -> int:
        return len(self._moments)

    def clear(self) -> None:
        with self._lock:
            self._moments.clear()

    def _begin(self, place: str) -> float:
        with self._lock:
            now = self._now()
            moments = self._moments.setdefault(place, deque())
            while moments and moments[0] <= now - MINUTE_S:
                moments.popleft()
            if len(moments) >= A_MINUTE:
                wait_s = math.ceil(moments[0] + MINUTE_S - now)
                raise LimitReached(
                    f"Too many unknown API keys came from your address; try again in {wait_s} s.", retry_after_s=wait_s
                )
            moments.append(now)
            self._moments.move_to_end(place)
            while len(self._moments) > MAX_PLACES:
                self._moments.popitem(last=False)
            return now

    def _take_back(self, place: str, moment: float) -> None:
        with self._lock:
            moments = self._moments.get(place)
            if moments is not None and moment in moments:
                moments.remove(moment)


def _place(address: str) -> str:
    parsed = ip_address(address)
    return str(ip_network((parsed, OF_ONE_CALLER), strict=False)) if isinstance(parsed, IPv6Address) else address


guesses = Guesses()
