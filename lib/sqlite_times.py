"""Times as SQLite stores them: text in UTC without a zone, as Django writes it."""

from datetime import UTC, datetime
from functools import lru_cache


def to_text(moment: datetime) -> str:
    """Return a time as it is stored."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(" ")[:-6]


@lru_cache(10_000)
def from_text(text: str) -> datetime:
    """Reverse `to_text`."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
