"""
Checks of limits and their decisions: the values that the local and the Redis form of the limiter share.

Levels are whole numbers, so that both forms decide identically: time is in milliseconds, and a bucket of `value` units
per minute is refilled by `value` parts per millisecond. A unit has 60,000 parts.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from keys.domain.limits import CONCURRENCY

PARTS = 60_000
SLOT_RETRY_MS = 1_000  # the end of an in-flight request cannot be predicted: retry soon

Usage = Mapping[str, int]
"""Limit → units that a request used in the end. The rest of what it consumed is refunded."""


class LimitCheck(NamedTuple):
    """What a request needs of one limit of one scope."""

    scope: str
    limit: str
    key: str
    """The name of the counter, such as `key:7:requests_per_minute`."""
    value: int
    """Units per minute, or the number of concurrent requests."""
    amount: int = 1
    is_shadow: bool = False

    @property
    def is_concurrency(self) -> bool:
        """Whether the request needs a slot while it is in flight, instead of units of a token bucket."""
        return self.limit == CONCURRENCY


class LimitState(NamedTuple):
    """A limit right after a check."""

    check: LimitCheck
    wait_ms: int
    """Time until the amount is available; 0 if it is."""
    remaining: int
    full_in_ms: int


class LimitDecision(NamedTuple):
    """Whether a request is within its limits. Everything was consumed, or nothing."""

    states: tuple[LimitState, ...]
    at: float
    """Seconds since 1970, by the clock of the form that decided."""

    def limited(self, *, is_shadow: bool) -> list[LimitState]:
        """Return the limits that lack the amount: the shadow ones or the enforced ones."""
        return [state for state in self.states if state.wait_ms and state.check.is_shadow is is_shadow]

    @property
    def is_allowed(self) -> bool:
        return not self.limited(is_shadow=False)

    @property
    def consumed(self) -> tuple[LimitCheck, ...]:
        return consumed([state.check for state in self.states], [state.wait_ms for state in self.states])

    def updated(self, later: "LimitDecision") -> "LimitDecision":
        """Return this decision with the states of a later one, which replace those of the same counters."""
        states = {state.check.key: state for state in (*self.states, *later.states)}
        return LimitDecision(tuple(states.values()), later.at)


def consumed(checks: Sequence[LimitCheck], waits_ms: Sequence[int]) -> tuple[LimitCheck, ...]:
    """Return the checks that consume, given how long each would have to wait: all of them or none.

    A request that a shadow limit would reject consumes of no shadow limit. An amount of 0 consumes nothing.
    """
    limited = [check for check, wait_ms in zip(checks, waits_ms, strict=True) if wait_ms]
    if any(not check.is_shadow for check in limited):
        return ()
    return tuple(check for check in checks if check.amount and not (limited and check.is_shadow))
