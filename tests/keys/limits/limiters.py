"""Limits that are counted while the test makes the time pass."""

from typing import Any, Protocol

import redis

from keys.limits.limiter import Limiter, LimitGrant, Limits

LEASE_S = 15.0  # for both forms; the shared one grants no longer one


class Time(Protocol):
    def go_by(self, seconds: float) -> None: ...


class LocalTime:
    """The clock of a limiter in this process."""

    def __init__(self) -> None:
        self._ms = 1_000_000

    def now_ms(self) -> int:
        return self._ms

    def go_by(self, seconds: float) -> None:
        self._ms += round(seconds * 1000)

    def close(self) -> None:
        pass


class SharedTime:
    """Redis has a clock of its own: what it keeps is made older instead."""

    def __init__(self, url: str) -> None:
        self._client: Any = redis.Redis.from_url(url, decode_responses=True)

    def go_by(self, seconds: float) -> None:
        for key in self._client.scan_iter("messages-gateway:limit:*"):
            if self._client.type(key) == "zset":
                for request_id in self._client.zrange(key, 0, -1):
                    self._client.zincrby(key, -round(seconds * 1000), request_id)
            else:
                self._client.hincrby(key, "at", -round(seconds * 1000))

    def keys(self) -> list[str]:
        return sorted(self._client.scan_iter())

    def lives_s(self, key: str) -> float:
        """How long a key stays if nobody touches it."""
        return float(self._client.pttl(key)) / 1000

    def close(self) -> None:
        self._client.close()


class Counted:
    """A limiter, and its time."""

    def __init__(self, limiter: Limiter, time: LocalTime | SharedTime) -> None:
        self.limiter = limiter
        self.time = time
        self._calls = 0

    def begin_anew(self) -> None:
        """A long time later, nothing is held or owed."""
        self.time.go_by(36_000)

    def take(self, *limits: Limits, tokens: int = 1) -> LimitGrant:
        self._calls += 1
        return self.limiter.consume(f"req_{self._calls}", limits, tokens=tokens, lease_s=LEASE_S)

    def settle(self, grant: LimitGrant, *, tokens: int = 0) -> None:
        self.limiter.settle(grant, tokens=tokens)

    def release(self, grant: LimitGrant) -> None:
        self.limiter.release(grant)


def of_key(**limits: Any) -> Limits:
    return Limits(scope="key", id="key:1", **limits)


def of_team(**limits: Any) -> Limits:
    return Limits(scope="team", id="team:1", **limits)


def remaining(grant_headers: dict[str, str]) -> tuple[int | None, int | None]:
    """What the headers say is left: requests, tokens."""
    values = [grant_headers.get(f"anthropic-ratelimit-{kind}-remaining") for kind in ("requests", "tokens")]
    requests, tokens = (None if value is None else int(value) for value in values)
    return requests, tokens
