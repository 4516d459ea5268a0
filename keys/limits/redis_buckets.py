"""
Limits as all processes count them together, in Redis or Valkey: one script, one round trip, the server's clock.

A place of a running call is leased for fifteen seconds and renewed by its process (`open_calls`), so those of a process
that died are free again by themselves. Every key goes by itself when nothing is left to know.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import redis

from keys.limits.terms import LimitCheck, LimitDecision, LimitState, Used
from lib.shared_store import Store

LEASE_S = 15.0
PREFIX = "messages-gateway:"
RENEWED_AT_ONCE = 200


class RedisRateLimiter:
    """The sibling of `LocalRateLimiter`. While the store does not answer, its methods return None."""

    def __init__(self, store: Store, *, longest_lease_s: float = LEASE_S) -> None:
        self._store = store
        self._longest_lease_ms = round(longest_lease_s * 1000)

    def take(self, call_id: str, asks: Sequence[LimitCheck], *, lease_s: float) -> LimitDecision | None:
        """Take all that a call asks for, or nothing. A place is free again after `LEASE_S` if nobody renews it."""
        amounts = [_amount(ask) for ask in asks]
        return self._run(asks, self._command("take", call_id, asks, amounts, life_ms=round(lease_s * 1000)))

    def settle(self, call_id: str, asks: Sequence[LimitCheck], used: Used) -> LimitDecision | None:
        """Give back what was taken and not used, take what was used beyond it, and give the places back.

        It counts once, and not at all for a call that took nothing here.
        """
        amounts = [_amount(ask) - used.get(ask.limit, 0) for ask in asks]
        return self._run(asks, self._command("settle", call_id, asks, amounts))

    def look(self, asks: Sequence[LimitCheck]) -> LimitDecision | None:
        """How limits stand now. Takes nothing."""
        return self._run(asks, self._command("look", "", asks, [0] * len(asks)))

    def renew(self, places: Mapping[str, Sequence[LimitCheck]]) -> bool | None:
        """Begin the leases of running calls anew. One that had none here gets it, also beyond the limit."""
        commands = (self._command("renew", call_id, asks, [1] * len(asks)) for call_id, asks in places.items())
        while batch := list(islice(commands, RENEWED_AT_ONCE)):
            if self._store.run(lambda client: _execute_all(client, batch), otherwise=None) is None:
                return None
        return True

    def _command(
        self, verb: str, call_id: str, asks: Sequence[LimitCheck], amounts: Sequence[int], *, life_ms: int | None = None
    ) -> list[Any]:
        longest_ms = self._longest_lease_ms
        life_ms = life_ms or longest_ms
        keys = [f"{PREFIX}call:{call_id}", *[f"{PREFIX}limit:{ask.key}" for ask in asks]]
        numbers = [f"{min(life_ms, longest_ms)} {longest_ms} {life_ms}"]
        for ask, amount in zip(asks, amounts, strict=True):
            numbers.append(f"{ask.is_concurrency:d} {ask.value} {amount} {ask.is_shadow:d}")
        return [len(keys), *keys, verb, call_id, " ".join(numbers)]

    def _run(self, asks: Sequence[LimitCheck], command: list[Any]) -> LimitDecision | None:
        text, digest = _script()
        try:
            answer = self._store.ask("EVALSHA", digest, *command, otherwise=None)
        except redis.exceptions.NoScriptError:  # the server has just begun
            answer = self._store.ask("EVAL", text, *command, otherwise=None)
        return None if answer is None else _verdict(asks, answer)


def _execute_all(client: redis.Redis, commands: list[list[Any]]) -> Any:
    text, digest = _script()
    pipeline = client.pipeline(transaction=False)
    pipeline.script_load(text)
    for command in commands:
        pipeline.evalsha(digest, *command)
    return pipeline.execute()


@cache
def _script() -> tuple[str, str]:
    text = Path(__file__).with_suffix(".lua").read_text()
    return text, hashlib.sha1(text.encode()).hexdigest()


def _amount(ask: LimitCheck) -> int:
    """At most all that there can be, or a large call would be refused for ever."""
    return min(ask.amount, ask.value)


def _verdict(asks: Sequence[LimitCheck], answer: str) -> LimitDecision:
    now, *figures = map(int, answer.split())
    states = map(LimitState, asks, figures[::3], figures[1::3], figures[2::3])
    return LimitDecision(tuple(states), now / 1000)
