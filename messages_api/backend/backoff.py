"""Backoff before a retry: exponential with jitter, or as requested by the upstream's `retry-after`."""

import random
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

FIRST_BACKOFF_S = 0.5
MAX_BACKOFF_S = 8.0
MAX_RETRY_AFTER_S = 30.0
"""A longer `retry-after` is not waited for."""
JITTER_S = 0.5
"""Added to a `retry-after`, so that clients with the same value do not retry together."""

SECONDS = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,15})?")


def backoff_s(retry: int, *, retry_after_s: float | None) -> float | None:
    """Return the seconds to wait before retry number `retry` (1, 2, …), or None if `retry_after_s` is too long."""
    if retry_after_s is None:
        return random.uniform(0.5, 1.0) * min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** (retry - 1))
    if retry_after_s > MAX_RETRY_AFTER_S:
        return None
    return retry_after_s + random.uniform(0, JITTER_S)


def parse_retry_after(retry_after: str) -> float | None:
    """Return the seconds of a `Retry-After` (RFC 9110, 10.2.3), never negative; None if it is invalid."""
    text = retry_after.strip()
    if SECONDS.fullmatch(text):
        return max(0.0, float(text))
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
