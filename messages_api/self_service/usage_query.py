"""Query parameters of a usage report of an API key: parsed and checked."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from django.utils import timezone

from keys.reports.key_usage import BUCKET_WIDTHS, BucketQuery
from messages_api.errors import RequestError

DEFAULT_LIMIT = {"1m": 60, "1h": 24, "1d": 7}
MAX_LIMIT = {"1m": 1440, "1h": 168, "1d": 31}
MAX_LIMIT_BY_TAG = {"1m": 1440, "1h": 24}
"""A day: usage by tag is read from usage records, which are many."""
TAG_GROUP = re.compile(r"tag:([A-Za-z][A-Za-z0-9_.-]{0,31})")
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)


def parse(query: Mapping[str, str]) -> BucketQuery:
    """Parse the parameters of a URL. Ignore unknown ones. Raise RequestError for an invalid value."""
    width = query.get("bucket_width", "1d")
    if width not in BUCKET_WIDTHS:
        raise RequestError("bucket_width: expected 1m, 1h or 1d.", param="bucket_width")
    group_by = query.get("group_by", "")
    tag = TAG_GROUP.fullmatch(group_by)
    if group_by not in ("", "model") and not tag:
        raise RequestError("group_by: expected model, tag:name, or nothing.", param="group_by")
    if tag and width not in MAX_LIMIT_BY_TAG:
        raise RequestError("bucket_width: expected 1m or 1h for usage by tag.", param="bucket_width")
    limit = _limit(query.get("limit"), width, most=(MAX_LIMIT_BY_TAG if tag else MAX_LIMIT)[width])
    ending_at = _moment(query, "ending_at") or timezone.now()
    by_default = ending_at - (limit - 1) * BUCKET_WIDTHS[width]
    starting_at = _moment(query, "page") or _moment(query, "starting_at") or by_default
    if starting_at >= ending_at:
        raise RequestError("starting_at: expected a time before ending_at.", param="starting_at")
    return BucketQuery(
        starting_at=starting_at,
        ending_at=ending_at,
        bucket_width=width,
        limit=limit,
        by_model=group_by == "model",
        by_tag=tag[1] if tag else "",
    )


def _limit(text: str | None, width: str, *, most: int) -> int:
    if text is None:
        return DEFAULT_LIMIT[width]
    if not (text.isascii() and text.isdigit() and len(text) <= 6 and 1 <= int(text) <= most):
        raise RequestError(f"limit: expected a number from 1 to {most} for {width}.", param="limit")
    return int(text)


def _moment(query: Mapping[str, str], name: str) -> datetime | None:
    """Parse an RFC 3339 time with its offset. Accept a space for the + that URL decoding replaced."""
    text = query.get(name)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or not EARLIEST <= moment <= LATEST:
        raise RequestError(f"{name}: expected a time such as 2026-11-25T00:00:00Z.", param=name)
    return moment
