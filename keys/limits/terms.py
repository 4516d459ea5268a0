"""
What a call asks of its limits, and what it learns: the terms that the two forms of counting have in common.

Levels are whole numbers, so both forms answer exactly alike: time counts in milliseconds, and a bucket of `value` units
a minute is filled by `value` parts a millisecond, 60,000 of which are a unit.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

REQUESTS = "requests_per_minute"
TOKENS = "tokens_per_minute"
CALLS = "concurrent_requests"
PARTS = 60_000
CALL_MAY_END_IN_MS = 1_000  # nobody knows when a running call ends: look again soon

Used = Mapping[str, int]
"""Limit → units that a call has used in the end. What it had asked for beyond that is given back."""


class LimitCheck(NamedTuple):
    """What a call wants of one limit of one scope."""

    scope: str
    limit: str
    key: str
    """What is counted together, such as `key:7:requests_per_minute`."""
    value: int
    """Units a minute; for calls at once, so many."""
    amount: int = 1
    is_shadow: bool = False

    @property
    def is_concurrency(self) -> bool:
        """Whether it is a place for as long as the call runs, and not units that flow in again."""
        return self.limit == CALLS


class LimitState(NamedTuple):
    """A limit right after an ask."""

    ask: LimitCheck
    wait_ms: int
    """0 if the ask can be met, else how long until it can."""
    remaining: int
    full_in_ms: int


class LimitDecision(NamedTuple):
    """Whether a call may go on. Everything was taken, or nothing."""

    states: tuple[LimitState, ...]
    at: float
    """When, in seconds since 1970 by the clock of the form that counted."""

    def short(self, *, is_shadow: bool) -> list[LimitState]:
        """The limits that could not give what was asked."""
        return [state for state in self.states if state.wait_ms and state.ask.is_shadow is is_shadow]

    @property
    def is_granted(self) -> bool:
        return not self.short(is_shadow=False)

    @property
    def taken(self) -> tuple[LimitCheck, ...]:
        return taken([state.ask for state in self.states], [state.wait_ms for state in self.states])


def taken(asks: Sequence[LimitCheck], waits_ms: Sequence[int]) -> tuple[LimitCheck, ...]:
    """What is taken of asks that would have to wait so long: all, or nothing.

    A call that limits which only count would have refused counts in none of those.
    """
    short = [ask for ask, wait_ms in zip(asks, waits_ms, strict=True) if wait_ms]
    if not short:
        return tuple(asks)
    if any(not ask.is_shadow for ask in short):
        return ()
    return tuple(ask for ask in asks if not ask.is_shadow)
