"""
The Redis rate limiter: the limits as all processes count them together, in Redis or Valkey.

One script, one round trip, by the clock of the server. A slot is leased for fifteen seconds and renewed by the process
of its request (`leases`), so the slots of a process that died expire. Every Redis key expires when it holds no
information.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from keys.limits.checks import LimitCheck, LimitDecision, LimitState, Usage
from keys.limits.presence import Presence
from keys.limits.scripts import PREFIX, Script
from lib.shared_store import SharedStore

LEASE_S = 15.0
MARK_S = 120.0
"""Life of the mark of a request, which is renewed with its slots. By then, what a killed worker did not refund has been
replenished."""
MAX_RENEWAL_BATCH = 200

_script = Script("redis_buckets.lua")


class RedisRateLimiter:
    """The sibling of `LocalRateLimiter`. While Redis does not respond, its methods return None."""

    def __init__(self, store: SharedStore, presence: Presence, *, longest_lease_s: float = LEASE_S) -> None:
        self._store = store
        self._presence = presence
        self._longest_lease_ms = round(longest_lease_s * 1000)

    def consume(self, request_id: str, checks: Sequence[LimitCheck], *, lease_s: float) -> LimitDecision | None:
        """Consume everything that a request needs, or nothing. A slot is free after `LEASE_S` unless it is renewed."""
        amounts = [_amount(check) for check in checks]
        return self._run(checks, self._command("consume", request_id, checks, amounts, lease_s=lease_s))

    def settle(self, request_id: str, checks: Sequence[LimitCheck], usage: Usage) -> LimitDecision | None:
        """Replace what was consumed by the actual usage, and free the slots.

        No effect if it is repeated, or for a request that did not consume in Redis.
        """
        amounts = [_amount(check) - usage.get(check.limit, 0) for check in checks]
        return self._run(checks, self._command("settle", request_id, checks, amounts))

    def check(self, checks: Sequence[LimitCheck]) -> LimitDecision | None:
        """Return the current state of limits without consuming."""
        return self._run(checks, self._command("check", "", checks, [0] * len(checks)))

    def renew(self, slots: Mapping[str, Sequence[LimitCheck]]) -> bool | None:
        """Renew the slots and marks of in-flight requests. A request without a slot gets one, even over the limit."""
        commands = [
            self._command("renew", request_id, checks, [1] * len(checks)) for request_id, checks in slots.items()
        ]
        for first in range(0, len(commands), MAX_RENEWAL_BATCH):
            if _script.run(self._store, commands[first : first + MAX_RENEWAL_BATCH]) is None:
                return None
        return True

    def _command(
        self,
        verb: str,
        request_id: str,
        checks: Sequence[LimitCheck],
        amounts: Sequence[int],
        *,
        lease_s: float = MARK_S,
    ) -> list[Any]:
        longest_ms, life_ms = self._longest_lease_ms, round(min(lease_s, MARK_S) * 1000)
        keys = [f"{PREFIX}request:{request_id}", *[f"{PREFIX}limit:{check.key}" for check in checks]]
        numbers = [f"{min(life_ms, longest_ms)} {longest_ms} {life_ms}"]
        for check, amount in zip(checks, amounts, strict=True):
            numbers.append(f"{check.is_concurrency:d} {check.value} {amount} {check.is_shadow:d}")
        return [len(keys), *keys, verb, request_id, " ".join(numbers)]

    def _run(self, checks: Sequence[LimitCheck], arguments: list[Any]) -> LimitDecision | None:
        replies = _script.run(self._store, [arguments])
        return None if replies is None else self._decision(checks, replies[0])

    def _decision(self, checks: Sequence[LimitCheck], reply: Any) -> LimitDecision | None:
        """Return the decision in a reply of the script, or None for anything else."""
        try:
            now, epoch, *figures = map(int, reply.split())
        except (AttributeError, ValueError):
            return None
        if len(figures) != 3 * len(checks):
            return None
        self._presence.observe(epoch)
        states = map(LimitState, checks, figures[::3], figures[1::3], figures[2::3])
        return LimitDecision(tuple(states), now / 1000)


def _amount(check: LimitCheck) -> int:
    """Return what a check consumes: at most the capacity, or a large request could never be admitted."""
    return min(check.amount, max(1, check.value))
