"""How much at a time: requests and tokens a minute, calls at once, for a key and for its team."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one scope may do at a time. None: as much as it likes."""

    scope: str
    """`key` or `team`."""
    id: str
    """What the counts are kept under, such as `team:7`."""
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_calls: int | None = None
    is_shadow: bool = False
    """Whether to note what would be refused, and to refuse nothing."""

    @property
    def has_any(self) -> bool:
        return (self.requests_per_minute, self.tokens_per_minute, self.concurrent_calls) != (None, None, None)
