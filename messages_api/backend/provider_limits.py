"""Rate-limit headers of providers, as this process saw them last, for each upstream.

A request costs two look-ups and a comparison: headers of successful responses are read at most twice per second.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

PREFIXES = ("anthropic-ratelimit-", "x-ratelimit-", "retry-after")
READ_INTERVAL_S = 0.5
MAX_UPSTREAMS = 256
MAX_HEADERS = 40
MAX_LENGTH = 100


@dataclass(slots=True)
class Seen:
    """The headers of one upstream."""

    next_read_at: float = 0.0
    """By the monotonic clock."""
    headers: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Value and Unix time of each header when it was seen last."""


_seen: dict[str, Seen] = {}


def observe(identity: str, status: int, headers: Mapping[str, str], *, now: float) -> None:
    """Remember the rate limits in the headers of a response. `now` is a recent monotonic time."""
    seen = _seen.get(identity)
    if seen is None:
        if len(_seen) >= MAX_UPSTREAMS:
            return
        seen = _seen.setdefault(identity, Seen())
    if status >= 400 or now >= seen.next_read_at:
        seen.next_read_at = now + READ_INTERVAL_S
        _read(seen, headers)


def _read(seen: Seen, headers: Mapping[str, str]) -> None:
    at = time.time()
    for name in headers:
        lowered = name.lower()
        if lowered.startswith(PREFIXES) and (lowered in seen.headers or len(seen.headers) < MAX_HEADERS):
            text = headers[name][:MAX_LENGTH]
            seen.headers[lowered[:MAX_LENGTH]] = "".join(each if each.isprintable() else "?" for each in text), at


def last_seen() -> dict[str, dict[str, tuple[str, float]]]:
    """Return value and time of each header, by the identity of the endpoint, for endpoints with any."""
    return {identity: dict(seen.headers) for identity, seen in list(_seen.items()) if seen.headers}


def forget() -> None:
    """Forget all headers."""
    _seen.clear()
