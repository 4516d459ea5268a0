"""The query of a usage report, as a key asks for its own: parameters in, checked values out, or a 400."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.utils import timezone

from messages_api.errors import RequestError

WIDTHS = {"1m": timedelta(minutes=1), "1h": timedelta(hours=1), "1d": timedelta(days=1)}
DEFAULT_LIMIT = {"1m": 60, "1h": 24, "1d": 7}
MAX_LIMIT = {"1m": 1440, "1h": 168, "1d": 31}
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class UsageQuery:
    """What a report is to cover."""

    starting_at: datetime
    ending_at: datetime
    """Exclusive."""
    bucket_width: str
    limit: int
    """Buckets a page."""
    by_model: bool


def parse(query: Mapping[str, str]) -> UsageQuery:
    """Check the parameters of a URL. Raise RequestError for one that cannot be understood; others are ignored."""
    width = query.get("bucket_width", "1d")
    if width not in WIDTHS:
        raise RequestError("bucket_width: expected 1m, 1h or 1d.", param="bucket_width")
    group_by = query.get("group_by", "")
    if group_by not in ("", "model"):
        raise RequestError("group_by: expected model, or nothing.", param="group_by")
    limit = _limit(query.get("limit"), width)
    ending_at = _moment(query, "ending_at") or timezone.now()
    starting_at = _moment(query, "page") or _moment(query, "starting_at") or ending_at - (limit - 1) * WIDTHS[width]
    if starting_at >= ending_at:
        raise RequestError("starting_at: expected a moment before ending_at.", param="starting_at")
    return UsageQuery(
        starting_at=starting_at,
        ending_at=ending_at,
        bucket_width=width,
        limit=limit,
        by_model=group_by == "model",
    )


def _limit(text: str | None, width: str) -> int:
    if text is None:
        return DEFAULT_LIMIT[width]
    if not (text.isascii() and text.isdigit() and len(text) <= 6 and 1 <= int(text) <= MAX_LIMIT[width]):
        raise RequestError(f"limit: expected a number from 1 to {MAX_LIMIT[width]} for {width}.", param="limit")
    return int(text)


def _moment(query: Mapping[str, str], name: str) -> datetime | None:
    """A moment with its offset, as RFC 3339 writes it. A space stands for the + that a URL made of it."""
    text = query.get(name)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or not EARLIEST <= moment <= LATEST:
        raise RequestError(f"{name}: expected a moment such as 2026-11-25T00:00:00Z.", param=name)
    return moment
