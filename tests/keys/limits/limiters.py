"""Limiters whose clock the test moves."""

from typing import Any, Protocol

import redis

from keys.limits.limiter import Limiter, LimitGrant, Limits
from keys.limits.presence import EPOCH, SLOTS, WORKERS
from lib.shared_store import PROBE

LEASE_S = 15.0  # for both forms; the Redis form grants no longer one


class Time(Protocol):
    def advance(self, seconds: float) -> None: ...


class LocalTime:
    """The clock of a limiter in this process."""

    def __init__(self) -> None:
        self._ms = 1_000_000

    def now_ms(self) -> int:
        return self._ms

    def advance(self, seconds: float) -> None:
        self._ms += round(seconds * 1000)

    def close(self) -> None:
        pass


class SharedTime:
    """The clock of Redis cannot be set: the stored times are moved back instead."""

    def __init__(self, url: str) -> None:
        self._client: Any = redis.Redis.from_url(url, decode_responses=True)

    def advance(self, seconds: float) -> None:
        for key in self._client.scan_iter("messages-gateway:limit:*"):
            if self._client.type(key) == "zset":
                for request_id in self._client.zrange(key, 0, -1):
                    self._client.zincrby(key, -round(seconds * 1000), request_id)
            else:
                self._client.hincrby(key, "at", -round(seconds * 1000))

    def keys(self) -> list[str]:
        """Return the keys of limits and requests. The keys about workers have no part in what a request consumes."""
        return sorted(set(self._client.scan_iter()) - {WORKERS, EPOCH, SLOTS, PROBE[1]})

    def ttl_s(self, key: str) -> float:
        """Return the remaining time to live of a key."""
        return float(self._client.pttl(key)) / 1000

    def close(self) -> None:
        self._client.close()


class TimedLimiter:
    """A limiter, and its time."""

    def __init__(self, limiter: Limiter, time: LocalTime | SharedTime) -> None:
        self.limiter = limiter
        self.time = time
        self._requests = 0

    def reset(self) -> None:
        """Advance until every limit is fully replenished and every lease has expired."""
        self.time.advance(36_000)

    def consume(self, *limits: Limits, tokens: int = 1) -> LimitGrant:
        self._requests += 1
        return consume(self.limiter, *limits, request_id=f"req_{self._requests}", tokens=tokens, lease_s=LEASE_S)

    def settle(self, grant: LimitGrant, *, tokens: int = 0) -> None:
        self.limiter.settle(grant, tokens=tokens)

    def release(self, grant: LimitGrant) -> None:
        self.limiter.release(grant)


def consume(
    limiter: Limiter, *limits: Limits, request_id: str = "req_1", tokens: int = 1, lease_s: float = 3600
) -> LimitGrant:
    """Consume in both steps what a request needs."""
    grant = limiter.consume(request_id, limits, lease_s=lease_s)
    limiter.consume_tokens(grant, tokens=tokens)
    return grant


def of_key(**limits: Any) -> Limits:
    return Limits(scope="key", id="key:1", **limits)


def of_team(**limits: Any) -> Limits:
    return Limits(scope="team", id="team:1", **limits)


def remaining(headers: dict[str, str]) -> tuple[int | None, int | None]:
    """Return the remaining requests and tokens from the rate-limit headers."""
    values = [headers.get(f"anthropic-ratelimit-{kind}-remaining") for kind in ("requests", "tokens")]
    requests, tokens = (None if value is None else int(value) for value in values)
    return requests, tokens
